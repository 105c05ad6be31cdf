/* Body of the Winograd kernels, included by winograd.c behind vector_body.h and the images' form
 * in memory (element_f32.h, element_bf16.h). */

/* B' along one axis. */
static inline __attribute__((always_inline)) void NAME(src_axis)(const VEC *d, int step, VEC *out)
{
    VEC d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step],
        d5 = d[5 * step];
    VEC a = d4 - 4 * d2, b = d3 - 4 * d1, c = d4 - d2, e = 2 * (d3 - d1);
    out[0] = 4 * d0 - 5 * d2 + d4;
    out[1] = a + b;
    out[2] = a - b;
    out[3] = c + e;
    out[4] = c - e;
    out[5] = 4 * d1 - 5 * d3 + d5;
}

/* A' along one axis. */
static inline __attribute__((always_inline)) void NAME(dst_axis)(const VEC *m, int step, VEC *out)
{
    VEC m0 = m[0], m1 = m[step], m2 = m[2 * step], m3 = m[3 * step], m4 = m[4 * step],
        m5 = m[5 * step];
    VEC a = m1 + m2, b = m1 - m2, c = m3 + m4, e = m3 - m4;
    out[0] = m0 + a + c;
    out[1] = b + 2 * e;
    out[2] = a + 4 * c;
    out[3] = b + 8 * e + m5;
}

/* Asks for what a tile reads beyond the one to its left; from: element (0, 0) of a channel. */
static inline __attribute__((always_inline)) void NAME(prefetch)(const tl_winograd_image *src,
                                                                 const ELEMENT *from, int64_t y0,
                                                                 int64_t x0)
{
    int64_t top = y0 < 0 ? 0 : y0, bottom = y0 + 6 < src->h ? y0 + 6 : src->h;
    int64_t left = x0 < -2 ? 0 : x0 + 2, right = x0 + 6 < src->w ? x0 + 6 : src->w;
    for (int64_t y = top; y < bottom; y++)
        for (int64_t x = left; x < right; x++)
            __builtin_prefetch(from + (y * src->w + x) * src->position);
}

static void NAME(transform_src)(const tl_winograd_image *src, int64_t tiles_h, int64_t tiles_w,
                                int64_t top, int64_t left, int64_t t0, int64_t t1, int64_t first,
                                const tl_winograd_rows *rows, float *v)
{
    int64_t plane = src->h * src->w * src->position;
    for (int64_t t = t0; t < t1; t++) {
        int64_t n = t / (tiles_h * tiles_w), y0 = t / tiles_w % tiles_h * 4 - top;
        int64_t x0 = t % tiles_w * 4 - left;
        bool has_next = t + 1 < t1 && (t + 1) % tiles_w != 0;
        for (int64_t c = 0; c < src->c; c += WIDTH) {
            const ELEMENT *from = (const ELEMENT *)src->data +
                                  (n * (src->c / src->group) + c / src->group) * plane +
                                  c % src->group;
            if (has_next)
                NAME(prefetch)(src, from, y0, x0 + 4);
            VEC d[36], r[36], column[6];
            for (int64_t y = 0; y < 6; y++)
                for (int64_t x = 0; x < 6; x++) {
                    bool inside = y0 + y >= 0 && y0 + y < src->h && x0 + x >= 0 && x0 + x < src->w;
                    d[6 * y + x] = inside
                                       ? LOAD(from + ((y0 + y) * src->w + x0 + x) * src->position)
                                       : (VEC){0};
                }
#pragma GCC unroll 6
            for (int i = 0; i < 6; i++)
                NAME(src_axis)(d + 6 * i, 1, r + 6 * i);
            float *to = v + (t - first) * rows->row + c / WIDTH * rows->column;
#pragma GCC unroll 6
            for (int j = 0; j < 6; j++) {
                NAME(src_axis)(r + j, 6, column);
#pragma GCC unroll 6
                for (int i = 0; i < 6; i++)
                    NAME(store)(to + (6 * i + j) * rows->matrix, column[i]);
            }
        }
    }
}

/* m (n_rows, PANEL) = or += a (n_rows, terms) x b (terms, PANEL): element (r, x) of a is at
 * r * a_row + x * a_term, a row of m at r * m_row. n_rows is a constant where this is inlined and
 * the loops are unrolled, so that the sums stay in registers (-O2 would keep the loops). */
static inline __attribute__((always_inline)) void NAME(tile)(const float *a, int64_t a_row,
                                                             int64_t a_term, const float *b,
                                                             int64_t terms, float *m,
                                                             int64_t m_row, int n_rows, bool adds)
{
    VEC sum[ROWS][VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 16
        for (int i = 0; i < VECTORS; i++)
            sum[r][i] = adds ? NAME(load)(m + r * m_row + i * WIDTH) : (VEC){0};
    for (int64_t x = 0; x < terms; x++) {
        VEC row[VECTORS];
#pragma GCC unroll 16
        for (int i = 0; i < VECTORS; i++)
            row[i] = NAME(load)(b + (x * VECTORS + i) * WIDTH);
#pragma GCC unroll 16
        for (int r = 0; r < n_rows; r++) {
            float factor = a[r * a_row + x * a_term];
#pragma GCC unroll 16
            for (int i = 0; i < VECTORS; i++)
                sum[r][i] += factor * row[i];
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 16
        for (int i = 0; i < VECTORS; i++)
            NAME(store)(m + r * m_row + i * WIDTH, sum[r][i]);
}

static void NAME(multiply)(const float *v, const float *u, float *m, int64_t r0, int64_t r1,
                           int64_t c, int64_t k)
{
    enum { PANEL = WIDTH * VECTORS };
    for (int64_t c0 = 0; c0 < c; c0 += DEPTH)
        for (int64_t p = 0; p < k / PANEL; p++) {
            int64_t depth = c - c0 < DEPTH ? c - c0 : DEPTH, r = r0;
            const float *rows = v + c0, *panel = u + (p * c + c0) * PANEL;
            float *to = m + p * PANEL;
            for (; r + ROWS <= r1; r += ROWS)
                NAME(tile)(rows + r * c, c, 1, panel, depth, to + r * k, k, ROWS, c0 > 0);
            for (; r + FEW <= r1; r += FEW)
                NAME(tile)(rows + r * c, c, 1, panel, depth, to + r * k, k, FEW, c0 > 0);
            for (; r < r1; r++)
                NAME(tile)(rows + r * c, c, 1, panel, depth, to + r * k, k, 1, c0 > 0);
        }
}

static void NAME(transform_dst)(const float *m, int64_t first, int64_t n_rows, int64_t tiles_h,
                                int64_t tiles_w, int64_t t0, int64_t t1,
                                const tl_winograd_end *end, const tl_winograd_image *dst)
{
    int64_t plane = dst->h * dst->w * dst->position;
    VEC low = (VEC){0} + end->low, high = (VEC){0} + end->high;
    for (int64_t t = t0; t < t1; t++) {
        int64_t n = t / (tiles_h * tiles_w), y0 = t / tiles_w % tiles_h * 4;
        int64_t x0 = t % tiles_w * 4;
        int64_t rows = dst->h - y0 < 4 ? dst->h - y0 : 4;
        int64_t columns = dst->w - x0 < 4 ? dst->w - x0 : 4;
        for (int64_t c = 0; c < dst->c; c += WIDTH) {
            ELEMENT *to = (ELEMENT *)dst->data +
                          (n * (dst->c / dst->group) + c / dst->group) * plane + c % dst->group;
            const float *from = m + (t - first) * dst->c + c;
            VEC bias = end->bias != NULL ? NAME(load)(end->bias + c) : (VEC){0};
            VEC d[36], r[24], column[4];
            for (int i = 0; i < 36; i++)
                d[i] = NAME(load)(from + i * n_rows * dst->c);
#pragma GCC unroll 6
            for (int i = 0; i < 6; i++)
                NAME(dst_axis)(d + 6 * i, 1, r + 4 * i);
            for (int64_t x = 0; x < columns; x++) {
                NAME(dst_axis)(r + x, 4, column);
                for (int64_t y = 0; y < rows; y++) {
                    ELEMENT *p = to + ((y0 + y) * dst->w + x0 + x) * dst->position;
                    VEC value = column[y] + bias;
                    if (end->adds)
                        value += LOAD(p);
                    if (end->clips)
                        value = NAME(clip)(value, low, high);
                    STORE(p, value);
                }
            }
        }
    }
}

/* G along one axis. */
static inline __attribute__((always_inline)) void NAME(kernel_axis)(const double *g, int step,
                                                                    double *out, int out_step)
{
    double a = g[0] / 4, b = -(g[0] + g[2 * step]) * (1. / 6), c = g[step] * (1. / 6);
    double d = g[0] * (1. / 24) + g[2 * step] * (1. / 6), e = g[step] * (1. / 12);
    out[0] = a;
    out[out_step] = b - c;
    out[2 * out_step] = b + c;
    out[3 * out_step] = d + e;
    out[4 * out_step] = d - e;
    out[5 * out_step] = g[2 * step];
}

static void NAME(transform_kernel)(const float *kernel, int64_t tap_stride, int64_t row_stride,
                                   int64_t column_stride, const float *scale, int64_t depth,
                                   int64_t matrix, float *u)
{
    enum { PANEL = WIDTH * VECTORS };
    for (int64_t x = 0; x < depth; x++) {
        double g[9 * PANEL], half[18 * PANEL], out[36 * PANEL];
        for (int tap = 0; tap < 9; tap++)
            for (int k = 0; k < PANEL; k++)
                g[tap * PANEL + k] =
                    (double)kernel[tap * tap_stride + x * row_stride + k * column_stride] *
                    (scale != NULL ? scale[k] : 1.f);
        for (int j = 0; j < 3; j++)
#pragma omp simd
            for (int k = 0; k < PANEL; k++)
                NAME(kernel_axis)(g + j * PANEL + k, 3 * PANEL, half + j * PANEL + k, 3 * PANEL);
        for (int i = 0; i < 6; i++)
#pragma omp simd
            for (int k = 0; k < PANEL; k++)
                NAME(kernel_axis)(half + 3 * i * PANEL + k, PANEL, out + 6 * i * PANEL + k, PANEL);
        for (int i = 0; i < 36; i++)
            for (int k = 0; k < PANEL; k++)
                u[i * matrix + x * PANEL + k] = (float)out[i * PANEL + k];
    }
}

/* A along one axis. */
static inline __attribute__((always_inline)) void NAME(diff_axis)(const VEC *y, int step, VEC *out,
                                                                  int out_step)
{
    VEC y0 = y[0], y1 = y[step], y2 = y[2 * step], y3 = y[3 * step];
    VEC a = y0 + y2, b = y1 + y3, c = y0 + 4 * y2, e = 2 * y1 + 8 * y3;
    out[0] = y0;
    out[out_step] = a + b;
    out[2 * out_step] = a - b;
    out[3 * out_step] = c + e;
    out[4 * out_step] = c - e;
    out[5 * out_step] = y3;
}

static void NAME(transform_diff)(const tl_winograd_image *diff, int64_t tiles_h, int64_t tiles_w,
                                 int64_t t0, int64_t t1, int64_t first, int64_t n_rows, float *z)
{
    enum { PANEL = WIDTH * VECTORS };
    int64_t plane = diff->h * diff->w * diff->position;
    for (int64_t t = t0; t < t1; t++) {
        int64_t n = t / (tiles_h * tiles_w), y0 = t / tiles_w % tiles_h * 4;
        int64_t x0 = t % tiles_w * 4;
        for (int64_t c = 0; c < diff->c; c += WIDTH) {
            const ELEMENT *from = (const ELEMENT *)diff->data +
                                  (n * (diff->c / diff->group) + c / diff->group) * plane +
                                  c % diff->group;
            VEC d[16], r[24], column[6];
            for (int64_t y = 0; y < 4; y++)
                for (int64_t x = 0; x < 4; x++)
                    d[4 * y + x] =
                        y0 + y < diff->h && x0 + x < diff->w
                            ? LOAD(from + ((y0 + y) * diff->w + x0 + x) * diff->position)
                            : (VEC){0};
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                NAME(diff_axis)(d + 4 * i, 1, r + 6 * i, 1);
            float *to = z + (c / PANEL * n_rows + t - first) * PANEL + c % PANEL;
#pragma GCC unroll 6
            for (int j = 0; j < 6; j++) {
                NAME(diff_axis)(r + j, 6, column, 1);
#pragma GCC unroll 6
                for (int i = 0; i < 6; i++)
                    NAME(store)(to + (6 * i + j) * n_rows * diff->c, column[i]);
            }
        }
    }
}

static void NAME(multiply_transposed)(const float *v, const float *z, float *du, int64_t n_rows,
                                      int64_t c, bool adds)
{
    enum { PANEL = WIDTH * VECTORS };
    for (int64_t t0 = 0; t0 < n_rows; t0 += TILES) {
        int64_t tiles = n_rows - t0 < TILES ? n_rows - t0 : TILES;
        for (int64_t x = 0; x < c; x += SUM_ROWS) {
            const float *column = v + (x / WIDTH * n_rows + t0) * WIDTH + x % WIDTH;
            NAME(tile)
            (column, 1, WIDTH, z + t0 * PANEL, tiles, du + x * PANEL, PANEL, SUM_ROWS,
             adds || t0 > 0);
        }
    }
}

static void NAME(sum_rows)(const float *z, float *sum, int64_t n_rows, bool adds)
{
    enum { PANEL = WIDTH * VECTORS };
    for (int i = 0; i < PANEL; i += WIDTH) {
        VEC total = adds ? NAME(load)(sum + i) : (VEC){0};
        for (int64_t t0 = 0; t0 < n_rows; t0 += TL_WINOGRAD_STRIDE) { /* short sums: less error */
            int64_t end = n_rows < t0 + TL_WINOGRAD_STRIDE ? n_rows : t0 + TL_WINOGRAD_STRIDE;
            VEC part = {0};
            for (int64_t t = t0; t < end; t++)
                part += NAME(load)(z + t * PANEL + i);
            total += part;
        }
        NAME(store)(sum + i, total);
    }
}

/* G' along one axis. */
static inline __attribute__((always_inline)) void NAME(diff_kernel_axis)(const VEC *u, int step,
                                                                         VEC *out, int out_step)
{
    VEC u0 = u[0], u1 = u[step], u2 = u[2 * step], u3 = u[3 * step], u4 = u[4 * step],
        u5 = u[5 * step];
    VEC a = (u1 + u2) * (1.f / 6), b = (u3 + u4) * (1.f / 24);
    out[0] = u0 * .25f - a + b;
    out[out_step] = (u2 - u1) * (1.f / 6) + (u3 - u4) * (1.f / 12);
    out[2 * out_step] = 4 * b - a + u5;
}

static void NAME(transform_diff_kernel)(const float *du, int64_t matrix, int64_t n_parts,
                                        int64_t part, int64_t x0, int64_t x1, int64_t tap_stride,
                                        int64_t row_stride, float *kernel)
{
    enum { PANEL = WIDTH * VECTORS };
    for (int64_t x = x0; x < x1; x++)
        for (int k = 0; k < PANEL; k += WIDTH) {
            VEC u[36], half[18], g[9];
            for (int i = 0; i < 36; i++) {
                const float *from = du + i * matrix + x * PANEL + k;
                u[i] = NAME(load)(from);
                for (int64_t j = 1; j < n_parts; j++)
                    u[i] += NAME(load)(from + j * part);
            }
#pragma GCC unroll 6
            for (int i = 0; i < 6; i++)
                NAME(diff_kernel_axis)(u + 6 * i, 1, half + 3 * i, 1);
#pragma GCC unroll 3
            for (int j = 0; j < 3; j++)
                NAME(diff_kernel_axis)(half + j, 3, g + j, 3);
            for (int tap = 0; tap < 9; tap++)
                NAME(store)(kernel + tap * tap_stride + x * row_stride + k, g[tap]);
        }
}

static const tl_winograd_kernels NAME(kernels) = {
    .block = WIDTH,
    .panel = WIDTH * VECTORS,
    .transform_kernel = NAME(transform_kernel),
    .transform_src = NAME(transform_src),
    .multiply = NAME(multiply),
    .transform_dst = NAME(transform_dst),
    .transform_diff = NAME(transform_diff),
    .multiply_transposed = NAME(multiply_transposed),
    .sum_rows = NAME(sum_rows),
    .transform_diff_kernel = NAME(transform_diff_kernel),
};

#undef ELEMENT
#undef LOAD
#undef STORE
#undef GET
#undef PUT
#undef SWISH
#undef VEC
#undef MASK
#undef WIDTH
#undef NAME
