#include "kernels/winograd.h"

#include <immintrin.h>
#include <stddef.h>

#include "kernels/kernels.h"

/* Input channels per pass: a panel of U (16 to 32 KB) and its rows stay in L1. */
#define DEPTH 256
/* The same for the gradient of the kernel: rows of Z (16 KB) and V (8 KB). */
#define TILES 128

#define FEW 4 /* rows of a smaller tile for what is left: one image has few of them */

/* Sums of one product held in registers, rows by vectors of WIDTH floats: 4 x 2 of 16 registers,
 * 6 x 2 of 16, 12 x 2 of 32, the rest for operands. */
#define ROWS (WIDTH == 16 ? 12 : WIDTH == 8 ? 6 : 4)
#define VECTORS 2
/* The same for the gradient of the kernel; at most ROWS, divides WIDTH. */
#define SUM_ROWS (WIDTH == 16 ? 8 : 4)

#define BODY "kernels/winograd_body.h"
#include "kernels/versions.h"
#include "kernels/version_bf16.h"

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
