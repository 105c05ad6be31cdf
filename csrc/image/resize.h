/* Pixels of one size -> pixels of another, bit for bit as TensorFlow (KERAS) or Pillow (PIL, FAST)
 * compute them. */
#ifndef TL_IMAGE_RESIZE_H
#define TL_IMAGE_RESIZE_H

#include <stdbool.h>

#include "image/image.h"

typedef struct tl_pixels {
    int width, height, channels; /* channels: 1 to TL_MAX_CHANNELS */
    bool is_float;               /* float32, else uint8 */
    size_t stride;               /* elements from one row to the next */
    const void *data;            /* borrowed */
} tl_pixels;

#define TL_MAX_CHANNELS 64

typedef struct tl_resize_spec {
    int width, height; /* of the result */
    tl_interpolation interpolation;
    tl_pipeline pipeline;
    tl_fit fit;
} tl_resize_spec;

/* Scratch of one thread. Zero it before the first use. */
typedef struct tl_resizer {
    tl_buffer x_table, y_table; /* where each output column or row comes from */
    tl_buffer rows;             /* horizontally resized rows */
    tl_buffer line;             /* one row in the making */
    tl_buffer premultiplied;    /* RGBA source, colours times alpha (PIL) */
} tl_resizer;

void tl_resizer_deinit(tl_resizer *resizer);
void tl_resizer_trim(tl_resizer *resizer);

/* Refuses what is not defined: KERAS has no box, hamming, lanczos; sizes are 1 to 65,536. */
tl_status tl_resize_check(const tl_resize_spec *spec, tl_error *err);

/* Fills dst, (spec->height, spec->width, src->channels) without padding, as float32. PIL and FAST
 * take uint8 pixels only. */
tl_status tl_resizer_run(tl_resizer *resizer, const tl_pixels *src, const tl_resize_spec *spec,
                         float *dst, tl_error *err);

/* The same with nearest neighbours and uint8 in and out. */
tl_status tl_resizer_run_u8(tl_resizer *resizer, const tl_pixels *src, const tl_resize_spec *spec,
                            uint8_t *dst, tl_error *err);

#endif
