#include <stddef.h>

#include "kernels/kernels.h"

/* Columns that are summed side by side: two AVX-512 or four AVX2 registers per row. */
#define WIDTH 32
#define ROWS 2

/* n_rows (1 or ROWS) times n_columns (up to WIDTH) sums. */
static inline __attribute__((always_inline)) void dense_tile(const float *src, const float *kernel,
                                                             const float *bias, float *dst,
                                                             int n_rows, int n_columns, int64_t in,
                                                             int64_t units)
{
    float sum[ROWS][WIDTH] = {{0}};
    for (int64_t k = 0; k < in; k++)
        for (int r = 0; r < n_rows; r++) {
            float x = src[r * in + k];
            for (int u = 0; u < n_columns; u++)
                sum[r][u] += x * kernel[k * units + u];
        }
    for (int r = 0; r < n_rows; r++)
        for (int u = 0; u < n_columns; u++)
            dst[r * units + u] = sum[r][u] + (bias != NULL ? bias[u] : 0.f);
}

TL_BODY tl_dense_columns_body(const float *src, const float *kernel, const float *bias, float *dst,
                              int64_t rows, int64_t in, int64_t units, int64_t u0, int64_t u1)
{
    for (int64_t u = u0; u < u1; u += WIDTH) {
        int n = u1 - u < WIDTH ? (int)(u1 - u) : WIDTH;
        const float *b = bias != NULL ? bias + u : NULL;
        int64_t r = 0;
        for (; n == WIDTH && r + ROWS <= rows; r += ROWS)
            dense_tile(src + r * in, kernel + u, b, dst + r * units + u, ROWS, WIDTH, in, units);
        for (; n == WIDTH && r < rows; r++)
            dense_tile(src + r * in, kernel + u, b, dst + r * units + u, 1, WIDTH, in, units);
        for (; r < rows; r++) /* the last columns, or a head of a few classes */
            dense_tile(src + r * in, kernel + u, b, dst + r * units + u, 1, n, in, units);
    }
}

TL_KERNEL(tl_dense_columns,
          (const float *src, const float *kernel, const float *bias, float *dst, int64_t rows,
           int64_t in, int64_t units, int64_t u0, int64_t u1),
          (src, kernel, bias, dst, rows, in, units, u0, u1))
