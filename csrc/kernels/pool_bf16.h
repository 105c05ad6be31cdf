/* Pooling of bfloat16 values in training. oneDNN 3.2 adds up the gradients of windows that overlap
 * in bfloat16 and loses bits; here they are added in float32 and rounded once. */
#ifndef TL_KERNELS_POOL_BF16_H
#define TL_KERNELS_POOL_BF16_H

#include "base/dtype.h"

#define TL_POOL_WIDTH 16      /* channels side by side, at most */
#define TL_POOL_MAX_CELLS 256 /* of a window: its cells are counted in a byte */

/* The windows of one image: rows, columns. */
typedef struct tl_windows {
    int64_t in[2], out[2]; /* positions of the image, and windows */
    int64_t size[2], stride[2], before[2];
} tl_windows;

/* `width` channels of an image, whose positions are `apart` numbers apart in x, dx, y, dy and top.
 * top: which cell of the window was the largest; of equal ones the first, NaN before all others.
 */
void tl_max_pool_bf16(const tl_windows *w, int width, int64_t apart, const tl_bf16 *x, tl_bf16 *y,
                      uint8_t *top);

/* Gradient of the maximum, or where top is NULL of the mean of the cells inside the image.
 * row: work memory, in[1] * TL_POOL_WIDTH floats. */
void tl_pool_backward_bf16(const tl_windows *w, int width, int64_t apart, const tl_bf16 *dy,
                           const uint8_t *top, float *row, tl_bf16 *dx);

#endif
