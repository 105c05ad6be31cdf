/* swish(x) = x / (1 + exp(-x)) of bfloat16 values, which oneDNN computes with more digits than
 * they hold: four times faster. */
#ifndef TL_KERNELS_SWISH_BF16_H
#define TL_KERNELS_SWISH_BF16_H

#include "base/dtype.h"

/* Both where tl_has_bf16. Bits of an element depend on nothing but its value. */
void tl_swish_bf16(const tl_bf16 *x, tl_bf16 *y, int64_t n);

/* dx = dy times the slope at x; dx may be dy */
void tl_swish_backward_bf16(const tl_bf16 *x, const tl_bf16 *dy, tl_bf16 *dx, int64_t n);

#endif
