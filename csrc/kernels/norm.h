/* Loops of batch norm and of sums of tensors. Positions are rows of `width` channels, `stride`
 * floats apart: a channel block of a blocked tensor (width = stride = block) or a group of
 * channels of a row-major one. */
#ifndef TL_KERNELS_NORM_H
#define TL_KERNELS_NORM_H

#include <stdint.h>

#define TL_NORM_WIDTH 16 /* the widest group */

/* y = clip(x * scale + shift, low, high) per channel; without activation the limits are infinite.
 */
typedef struct tl_norm_map {
    float scale[TL_NORM_WIDTH], shift[TL_NORM_WIDTH];
    float low, high;
} tl_norm_map;

typedef struct tl_norm_kernels {
    /* adds sum(x - origin) and sum((x - origin)^2) of n positions */
    void (*moments)(const float *x, int64_t n, int64_t stride, int width, const float *origin,
                    double *sum, double *squares);
    void (*sums)(const float *x, int64_t n, int64_t stride, int width, double *sum); /* adds */
    void (*apply)(const float *x, float *y, int64_t n, int64_t stride, int width,
                  const tl_norm_map *map);
    /* the same for whole rows of `width` channels, from rows x_stride apart to rows y_stride apart
     */
    void (*map_rows)(const float *x, float *y, int64_t rows, int64_t x_stride, int64_t y_stride,
                     int64_t width, const float *scale, const float *shift, float low, float high);
    /* adds sum(dy) and sum(dy * (x - origin)); dy counts where the map did not clip */
    void (*gradients)(const float *x, const float *dy, int64_t n, int64_t stride, int width,
                      const float *origin, const tl_norm_map *map, double *sum, double *product);
    /* dx = a * dy + b * x + c, dy counted as above */
    void (*pull_back)(const float *x, const float *dy, float *dx, int64_t n, int64_t stride,
                      int width, const float *a, const float *b, const float *c,
                      const tl_norm_map *map);
    void (*add)(float *sum, const float *a, const float *b, int64_t n); /* sum may be a or b */
} tl_norm_kernels;

const tl_norm_kernels *tl_norm(void);

#endif
