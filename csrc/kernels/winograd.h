/* Winograd's minimal filtering F(4x4, 3x3) (Lavin, Gray 2015, arXiv 1509.09308) for 3x3
 * convolutions with stride 1: 36 products instead of 144 for 4 x 4 results. Error about 1e-5 of
 * the largest value.
 *
 *   V[36][tile][c] = B' d B   of every 6x6 piece d of the source
 *   M[36][tile][k] = V[i] U[i], U = G g G' of the 3x3 kernel g, packed in panels
 *   dst 4x4 piece  = A' m A
 *
 * and for the gradient of the kernel, the sums over all tiles:
 *
 *   Z[36][tile][k] = A y A'   of every 4x4 piece y of dst's gradient
 *   dU[36][c][k]   = V[i]' Z[i]
 *   3x3 gradient   = G' du G
 *
 * Every function works on a slice, so the caller decides about threads. No bit of a result depends
 * on the slice. */
#ifndef TL_KERNELS_WINOGRAD_H
#define TL_KERNELS_WINOGRAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"

/* An image in memory: channel group c / group, then rows, columns, then the channel in its group.
 * nhwc: group = all channels, position = channels. Blocked: group = position = block. */
typedef struct tl_winograd_image {
    void *data;
    int64_t n, h, w, c;
    int64_t group;    /* channels next to each other */
    int64_t position; /* numbers from one column to the next */
} tl_winograd_image;

typedef struct tl_winograd_end {
    const float *bias; /* c values, or NULL */
    bool adds;         /* dst holds a residual that is added */
    bool clips;        /* to [low, high] afterwards */
    float low, high;
} tl_winograd_end;

/* Where V lies: product i of a tile's channels c, c + 1, ... c + block - 1 begins at
 * i * matrix + tile * row + c / block * column. */
typedef struct tl_winograd_rows {
    int64_t matrix, row, column;
} tl_winograd_rows;

/* Tiles are counted through all images, rows and columns of 4x4 pieces of the destination. */
typedef struct tl_winograd_kernels {
    int64_t block; /* channels in one vector */
    int64_t panel; /* columns k in one panel of U */
    /* U[i][x][column] = G g G' for `depth` rows x of one panel; g[tap] of a row and column is
     * kernel[tap * tap_stride + x * row_stride + column * column_stride] * scale[column]; U[i] is
     * matrix floats behind U[i - 1]. In double: the error of a kernel stays in every result. */
    void (*transform_kernel)(const float *kernel, int64_t tap_stride, int64_t row_stride,
                             int64_t column_stride, const float *scale, int64_t depth,
                             int64_t matrix, float *u);
    /* tiles [t0, t1) of src, padded by (top, left) with zeros, into rows t - first of V */
    void (*transform_src)(const tl_winograd_image *src, int64_t tiles_h, int64_t tiles_w,
                          int64_t top, int64_t left, int64_t t0, int64_t t1, int64_t first,
                          const tl_winograd_rows *rows, float *v);
    /* rows [r0, r1) of one product: m (rows, k) = v (rows, c) x u (k / panel, c, panel) */
    void (*multiply)(const float *v, const float *u, float *m, int64_t r0, int64_t r1, int64_t c,
                     int64_t k);
    void (*transform_dst)(const float *m, int64_t first, int64_t n_rows, int64_t tiles_h,
                          int64_t tiles_w, int64_t t0, int64_t t1, const tl_winograd_end *end,
                          const tl_winograd_image *dst);
    /* tiles [t0, t1) of dst's gradient into rows t - first of Z (36, k / panel, n_rows, panel) */
    void (*transform_diff)(const tl_winograd_image *diff, int64_t tiles_h, int64_t tiles_w,
                           int64_t t0, int64_t t1, int64_t first, int64_t n_rows, float *z);
    /* one product: du (c, panel) = or += v (c / block, n_rows, block)' x z (n_rows, panel) */
    void (*multiply_transposed)(const float *v, const float *z, float *du, int64_t n_rows,
                                int64_t c, bool adds);
    /* sum (panel) = or += the rows of z: of product TL_WINOGRAD_SUMS, the bias' gradient. Rows are
     * added by TL_WINOGRAD_STRIDE: a split at its multiples changes no bit. */
    void (*sum_rows)(const float *z, float *sum, int64_t n_rows, bool adds);
    /* rows [x0, x1) of one panel: kernel[tap * tap_stride + x * row_stride + column] of the
     * gradient, from du (36, ..., c, panel) whose products are `matrix` floats apart; the sum of
     * n_parts of them, `part` floats apart */
    void (*transform_diff_kernel)(const float *du, int64_t matrix, int64_t n_parts, int64_t part,
                                  int64_t x0, int64_t x1, int64_t tap_stride, int64_t row_stride,
                                  float *kernel);
} tl_winograd_kernels;

/* The product in which Z is the plain sum of a 4x4 piece: at the points (1, 1). */
#define TL_WINOGRAD_SUMS 7
#define TL_WINOGRAD_STRIDE 32

/* For the instruction set in use; images of TL_F32, or TL_BF16 where tl_has_bf16 (V, U, M, Z and
 * dU are float32 in both, and U the same). */
const tl_winograd_kernels *tl_winograd(tl_dtype dtype);

/* U of a (3, 3, c, k) kernel whose output channels are scaled by scale[k] (or NULL). u holds
 * 36 * c * k floats; k is a multiple of the panel. */
void tl_winograd_pack(const float *kernel, const float *scale, int64_t c, int64_t k, float *u);

/* U of the convolution that takes a gradient back through the kernel: turned by half a turn, input
 * and output channels exchanged; c is a multiple of the panel. */
void tl_winograd_pack_transposed(const float *kernel, int64_t c, int64_t k, float *u);

#endif
