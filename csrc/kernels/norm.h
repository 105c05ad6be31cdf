/* Loops of batch norm and of sums of tensors. Positions are rows of `width` channels, `stride`
 * numbers apart: a channel block of a blocked tensor (width = stride = block) or a group of
 * channels of a row-major one. */
#ifndef TL_KERNELS_NORM_H
#define TL_KERNELS_NORM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"

#define TL_NORM_WIDTH 16 /* the widest group */

/* y = clip(x * scale + shift, low, high) per channel, or the swish of it; without activation the
 * limits are infinite. With a residual r, and no swish: y = clip(x * scale + shift + r, low,
 * high).
 */
typedef struct tl_norm_map {
    float scale[TL_NORM_WIDTH], shift[TL_NORM_WIDTH];
    float low, high;
    bool swish; /* and no limits */
} tl_norm_map;

/* Numbers of one type, see tl_norm; sums and statistics are kept in float and double. */
typedef struct tl_norm_kernels {
    /* adds sum(x - origin) and sum((x - origin)^2) of n positions */
    void (*moments)(const void *x, int64_t n, int64_t stride, int width, const float *origin,
                    double *sum, double *squares);
    /* adds */
    void (*sums)(const void *x, int64_t n, int64_t stride, int width, double *sum);
    void (*apply)(const void *x, const void *r, void *y, int64_t n, int64_t stride, int width,
                  const tl_norm_map *map); /* r may be NULL */
    /* the same for whole rows of `width` channels, from rows x_stride apart to rows y_stride apart
     */
    void (*map_rows)(const void *x, void *y, int64_t rows, int64_t x_stride, int64_t y_stride,
                     int64_t width, const float *scale, const float *shift, float low, float high);
    /* adds sum(dz) and sum(dz * (x - origin)), with dz = dy where the map did not clip, else 0, or
     * dy times the slope of swish; of a map with a residual y shows what it clipped, of others it
     * is NULL */
    void (*gradients)(const void *x, const void *dy, const void *y, int64_t n, int64_t stride,
                      int width, const float *origin, const tl_norm_map *map, double *sum,
                      double *product);
    /* dx = a * dz + b * x + c and dr = dz, with y as above; one of dx and dr may be NULL, and one
     * may be dy */
    void (*pull_back)(const void *x, const void *dy, const void *y, void *dx, void *dr, int64_t n,
                      int64_t stride, int width, const float *a, const float *b, const float *c,
                      const tl_norm_map *map);
    void (*add)(void *sum, const void *a, const void *b, int64_t n); /* sum may be a or b */
} tl_norm_kernels;

/* For tensors of TL_F32, or TL_BF16 where tl_has_bf16. */
const tl_norm_kernels *tl_norm(tl_dtype dtype);

#endif
