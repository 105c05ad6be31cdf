/* Body of the dense kernel, included by dense.c behind vector_body.h. */

/* DEPTH terms of the sums of n_rows (1 or ROWS) rows and one vector of columns: as many rows of
 * the kernel are read side by side, each from its start to its end. */
static inline __attribute__((always_inline)) void NAME(add_terms)(const float *src,
                                                                  const float *kernel, float *dst,
                                                                  int n_rows, int depth,
                                                                  int64_t in, int64_t units)
{
    VEC sum[ROWS];
#pragma GCC unroll 4
    for (int r = 0; r < n_rows; r++)
        sum[r] = NAME(load)(dst + r * units);
#pragma GCC unroll 8
    for (int k = 0; k < depth; k++) {
        VEC w = NAME(load)(kernel + k * units);
#pragma GCC unroll 4
        for (int r = 0; r < n_rows; r++)
            sum[r] += src[r * in + k] * w;
    }
#pragma GCC unroll 4
    for (int r = 0; r < n_rows; r++)
        NAME(store)(dst + r * units, sum[r]);
}

static inline __attribute__((always_inline)) void NAME(dense_rows)(const float *src,
                                                                   const float *kernel, float *dst,
                                                                   int n_rows, int64_t in,
                                                                   int64_t units, int64_t u0,
                                                                   int64_t u1)
{
    int64_t vectors = u0 + (u1 - u0) / WIDTH * WIDTH, k = 0;
    for (; k + DEPTH <= in; k += DEPTH)
        for (int64_t u = u0; u < vectors; u += WIDTH)
            NAME(add_terms)(src + k, kernel + k * units + u, dst + u, n_rows, DEPTH, in, units);
    for (; k < in; k++)
        for (int64_t u = u0; u < vectors; u += WIDTH)
            NAME(add_terms)(src + k, kernel + k * units + u, dst + u, n_rows, 1, in, units);
    for (int r = 0; r < n_rows && vectors < u1; r++) { /* the last ones, a head of few classes */
        float sum[WIDTH] = {0};
        int n = (int)(u1 - vectors);
        for (int64_t i = 0; i < in; i++)
            for (int u = 0; u < n; u++)
                sum[u] += src[r * in + i] * kernel[i * units + vectors + u];
        memcpy(dst + r * units + vectors, sum, (size_t)n * sizeof *sum);
    }
}

static void NAME(dense)(const float *src, const float *kernel, const float *bias, float *dst,
                        int64_t rows, int64_t in, int64_t units, int64_t u0, int64_t u1)
{
    for (int64_t r = 0; r < rows; r++)
        memset(dst + r * units + u0, 0, (size_t)(u1 - u0) * sizeof *dst);
    int64_t r = 0;
    for (; r + ROWS <= rows; r += ROWS)
        NAME(dense_rows)(src + r * in, kernel, dst + r * units, ROWS, in, units, u0, u1);
    for (; r < rows; r++)
        NAME(dense_rows)(src + r * in, kernel, dst + r * units, 1, in, units, u0, u1);
    for (r = 0; bias != NULL && r < rows; r++)
        for (int64_t u = u0; u < u1; u++)
            dst[r * units + u] += bias[u];
}

#undef VEC
#undef MASK
#undef WIDTH
#undef NAME
