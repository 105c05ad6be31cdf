/* Between resize.c and the two families of resamplers; nobody else includes this. */
#ifndef TL_IMAGE_RESAMPLE_H
#define TL_IMAGE_RESAMPLE_H

#include "image/resize.h"

/* The part of the source that is spread over the output, in source pixels. Pillow's filters read
 * pixels around the box too, TensorFlow's only those inside. */
typedef struct tl_box {
    int x, y, width, height;
} tl_box;

/* Part of the result to write: width x height pixels, `stride` elements from row to row. */
typedef struct tl_target {
    float *data;
    size_t stride;
    int width, height;
} tl_target;

tl_status tl_resample_tf_bilinear(tl_resizer *resizer, const tl_pixels *src,
                                  const tl_target *target, tl_error *err);
tl_status tl_resample_tf_bicubic(tl_resizer *resizer, const tl_pixels *src,
                                 const tl_target *target, tl_error *err);
tl_status tl_resample_pil(tl_resizer *resizer, const tl_pixels *src, const tl_box *box,
                          tl_interpolation filter, const tl_target *target, tl_error *err);

/* index[i] = source column (or row) of output i, nearest neighbour. */
void tl_nearest_tf(int *index, int out, int in);
void tl_nearest_pil(int *index, int out, int in, int first, int count);

#endif
