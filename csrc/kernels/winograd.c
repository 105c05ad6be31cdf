#include "kernels/winograd.h"

#include <immintrin.h>
#include <stddef.h>

#include "kernels/kernels.h"

/* Input channels per pass: a panel of U (16 to 32 KB) and its rows stay in L1. */
#define DEPTH 256
/* The same for the gradient of the kernel: rows of Z (16 KB) and V (8 KB). */
#define TILES 128

#define FEW 4 /* rows of a smaller tile for what is left: one image has few of them */

/* Register tiles: 4 x 2 of 16, 6 x 2 of 16, 12 x 2 of 32 registers, the rest for operands. */
#define WIDTH 4
#define ROWS 4
#define VECTORS 2
#define SUM_ROWS 4
#define NAME(x) x##_base
#include "kernels/vector_body.h"
#include "kernels/element_f32.h"
#include "kernels/winograd_body.h"

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define WIDTH 8
#define ROWS 6
#define VECTORS 2
#define SUM_ROWS 4
#define NAME(x) x##_avx2
#include "kernels/vector_body.h"
#include "kernels/element_f32.h"
#include "kernels/winograd_body.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#define WIDTH 16
#define ROWS 12
#define VECTORS 2
#define SUM_ROWS 8
#define NAME(x) x##_avx512
#include "kernels/vector_body.h"
#include "kernels/element_f32.h"
#include "kernels/winograd_body.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,avx512bf16,prefer-vector-width=512")
#define WIDTH 16
#define ROWS 12
#define VECTORS 2
#define SUM_ROWS 8
#define NAME(x) x##_bf16
#include "kernels/vector_body.h"
#include "kernels/element_bf16.h"
#include "kernels/winograd_body.h"
#pragma GCC pop_options

const tl_winograd_kernels *tl_winograd(tl_dtype dtype)
{
    if (dtype == TL_BF16)
        return &kernels_bf16;
    static const tl_winograd_kernels *const all[TL_ISA_COUNT] = {&kernels_base, &kernels_avx2,
                                                                 &kernels_avx512};
    return all[tl_kernel_isa()];
}

void tl_winograd_pack(const float *kernel, const float *scale, int64_t c, int64_t k, float *u)
{
    const tl_winograd_kernels *kernels = tl_winograd(TL_F32);
    int64_t panel = kernels->panel;
#pragma omp parallel for
    for (int64_t y = 0; y < k; y += panel)
        kernels->transform_kernel(kernel + y, c * k, k, 1, scale != NULL ? scale + y : NULL, c,
                                  c * k, u + y * c);
}

void tl_winograd_pack_transposed(const float *kernel, int64_t c, int64_t k, float *u)
{
    const tl_winograd_kernels *kernels = tl_winograd(TL_F32);
    int64_t panel = kernels->panel;
#pragma omp parallel for
    for (int64_t y = 0; y < c; y += panel) /* taps from the last to the first: half a turn */
        kernels->transform_kernel(kernel + 8 * c * k + y * k, -c * k, 1, k, NULL, k, c * k,
                                  u + y * k);
}
