/* The words of csrc/image: pipelines, interpolations, pixels, and a buffer that only grows. */
#ifndef TL_IMAGE_IMAGE_H
#define TL_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* How bytes become pixels. A model must see at prediction what it saw in training, so the name is
 * stored with the model.
 *   KERAS: what tf.io.decode_image + tf.image.resize give (fast integer DCT, no antialiasing)
 *   PIL:   what Pillow gives (accurate DCT, antialiased, every pass rounded to 8 bits)
 *   FAST:  JPEG decoded at 1/2, 1/4 or 1/8 while at least twice the target size is left, then
 *          resized as PIL does */
#define TL_PIPELINES(X) X(KERAS, "keras") X(PIL, "pil") X(FAST, "fast")

#define TL_INTERPOLATIONS(X)                                                                      \
    X(NEAREST, "nearest")                                                                         \
    X(BILINEAR, "bilinear")                                                                       \
    X(BICUBIC, "bicubic")                                                                         \
    X(BOX, "box")                                                                                 \
    X(HAMMING, "hamming")                                                                         \
    X(LANCZOS, "lanczos")

/* STRETCH: to the target whatever the aspect ratio. CROP: the largest centred box of the target's
 * aspect ratio. PAD: the whole image, centred, zeros around it. */
#define TL_FITS(X) X(STRETCH, "stretch") X(CROP, "crop") X(PAD, "pad")

#define TL_IMAGE_FORMATS(X) X(JPEG, "JPEG") X(PNG, "PNG")

#define X(name, text) TL_PIPELINE_##name,
typedef enum tl_pipeline { TL_PIPELINES(X) TL_PIPELINE_COUNT } tl_pipeline;
#undef X
#define X(name, text) TL_INTERPOLATION_##name,
typedef enum tl_interpolation { TL_INTERPOLATIONS(X) TL_INTERPOLATION_COUNT } tl_interpolation;
#undef X
#define X(name, text) TL_FIT_##name,
typedef enum tl_fit { TL_FITS(X) TL_FIT_COUNT } tl_fit;
#undef X
#define X(name, text) TL_IMAGE_##name,
typedef enum tl_image_format { TL_IMAGE_FORMATS(X) TL_IMAGE_FORMAT_COUNT } tl_image_format;
#undef X

/* Pillow's own limit: beyond it a file is more likely an attack than a photograph. */
#define TL_MAX_PIXELS_DEFAULT 178956970u

/* No compressed image that is worth reading is larger; it bounds what one file can allocate. */
#define TL_MAX_FILE_BYTES ((size_t)1 << 30)

typedef struct tl_image {
    int width, height, channels;
    const uint8_t *pixels; /* (height, width, channels), no padding; borrowed */
} tl_image;

typedef struct tl_image_info {
    tl_image_format format;
    int width, height, channels; /* as stored, before any conversion */
} tl_image_info;

/* Scratch memory that keeps its size between images; zero it before the first use. */
typedef struct tl_buffer {
    void *data; /* owned, aligned to TL_ALIGNMENT */
    size_t capacity;
} tl_buffer;

/* At least `bytes` bytes in buffer->data; the old content is lost when it has to grow. */
tl_status tl_buffer_reserve(tl_buffer *buffer, size_t bytes, const char *what, tl_error *err);
void tl_buffer_deinit(tl_buffer *buffer);

/* Frees the memory when it is larger than `keep` bytes, so that one giant image does not stay. */
void tl_buffer_trim(tl_buffer *buffer, size_t keep);

#endif
