#include "kernels/winograd.h"

#include <stddef.h>

#include "kernels/kernels.h"

#define DEPTH                                                                                     \
    256 /* input channels per pass: a panel of U (16 to 32 KB) and its rows stay in L1            \
         */

/* Register tiles: 4 x 2 of 16, 6 x 2 of 16, 12 x 2 of 32 registers, the rest for operands. */
#define WIDTH 4
#define ROWS 4
#define VECTORS 2
#define NAME(x) x##_base
#include "kernels/vector_body.h"
#include "kernels/winograd_body.h"

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define WIDTH 8
#define ROWS 6
#define VECTORS 2
#define NAME(x) x##_avx2
#include "kernels/vector_body.h"
#include "kernels/winograd_body.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#define WIDTH 16
#define ROWS 12
#define VECTORS 2
#define NAME(x) x##_avx512
#include "kernels/vector_body.h"
#include "kernels/winograd_body.h"
#pragma GCC pop_options

const tl_winograd_kernels *tl_winograd(void)
{
    static const tl_winograd_kernels *const all[TL_ISA_COUNT] = {&kernels_base, &kernels_avx2,
                                                                 &kernels_avx512};
    return all[tl_kernel_isa()];
}

/* G g G' of one 3x3 kernel, in double: it is done once per weight, its error stays in every
 * result. */
static void transform_kernel(const double *g, double *out)
{
    static const double G[6][3] = {{1. / 4, 0, 0},
                                   {-1. / 6, -1. / 6, -1. / 6},
                                   {-1. / 6, 1. / 6, -1. / 6},
                                   {1. / 24, 1. / 12, 1. / 6},
                                   {1. / 24, -1. / 12, 1. / 6},
                                   {0, 0, 1}};
    double half[6][3];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 3; j++)
            half[i][j] = G[i][0] * g[j] + G[i][1] * g[3 + j] + G[i][2] * g[6 + j];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            out[6 * i + j] = half[i][0] * G[j][0] + half[i][1] * G[j][1] + half[i][2] * G[j][2];
}

void tl_winograd_pack(const float *kernel, const float *scale, int64_t c, int64_t k, float *u)
{
    int64_t panel = tl_winograd()->panel;
#pragma omp parallel for
    for (int64_t x = 0; x < c; x++)
        for (int64_t y = 0; y < k; y++) {
            double g[9], out[36];
            for (int i = 0; i < 9; i++)
                g[i] = (double)kernel[(i * c + x) * k + y] * (scale != NULL ? scale[y] : 1.f);
            transform_kernel(g, out);
            for (int i = 0; i < 36; i++)
                u[i * c * k + (y / panel * c + x) * panel + y % panel] = (float)out[i];
        }
}
