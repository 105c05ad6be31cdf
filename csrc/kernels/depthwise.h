/* Gradient of depthwise kernels in the blocked layout. oneDNN 3.2 has a fast one up to 3 columns
 * only; 5x5 falls back to its reference code. */
#ifndef TL_KERNELS_DEPTHWISE_H
#define TL_KERNELS_DEPTHWISE_H

#include <stdint.h>

#include "base/dtype.h"

#define TL_DEPTHWISE_MAX 64 /* kernel rows x columns */

typedef struct tl_depthwise_shape {
    int64_t h, w, out_h, out_w; /* source and destination */
    int64_t kernel_h, kernel_w; /* product at most TL_DEPTHWISE_MAX */
    int64_t stride_h, stride_w, top, left;
    int64_t block; /* channels per block: 8 or 16 */
} tl_depthwise_shape;

/* Adds one image's part to sum[kernel_h * kernel_w * block]: one channel block of src (h, w,
 * block) and diff_dst (out_h, out_w, block) of one type (TL_F32 or TL_BF16). */
typedef void (*tl_depthwise_weights_fn)(const tl_depthwise_shape *shape, const void *src,
                                        const void *diff_dst, float *sum);

tl_depthwise_weights_fn tl_depthwise_weights(tl_dtype dtype);

#endif
