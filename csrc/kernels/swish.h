/* swish(x) = x / (1 + exp(-x)), for which oneDNN takes two to four times as long. Bits of an
 * element depend on nothing but its values. */
#ifndef TL_KERNELS_SWISH_H
#define TL_KERNELS_SWISH_H

#include <stdint.h>

#include "base/dtype.h"

/* Of n numbers of one type, see tl_swish. */
typedef struct tl_swish_kernels {
    void (*forward)(const void *x, void *y, int64_t n); /* y may be x */
    /* dx = dy times the slope at x; dx may be dy */
    void (*backward)(const void *x, const void *dy, void *dx, int64_t n);
} tl_swish_kernels;

/* For tensors of TL_F32, or TL_BF16 where tl_has_bf16. */
const tl_swish_kernels *tl_swish(tl_dtype dtype);

#endif
