/* Between decode.c and the two codecs; nobody else includes this. */
#ifndef TL_IMAGE_CODEC_H
#define TL_IMAGE_CODEC_H

#include <stdbool.h>

#include "image/decode.h"

/* How rows of the library become rows of the result. */
typedef enum tl_convert {
    TL_CONVERT_NONE,         /* the library writes the result itself */
    TL_CONVERT_GRAY_TO_RGB,  /* 1 -> 3 */
    TL_CONVERT_GRAY_TO_RGBA, /* 1 -> 4, opaque */
    TL_CONVERT_RGB_TO_GRAY,  /* 3 -> 1, Pillow's "L" */
    TL_CONVERT_CMYK,         /* 4 -> result channels, see tl_cmyk_rule */
} tl_convert;

/* Four-channel JPEG has three readings: TensorFlow's with Adobe's marker (inverted values) and
 * without, and Pillow's, which always assumes inverted values and rounds differently. */
typedef enum tl_cmyk_rule { TL_CMYK_ADOBE, TL_CMYK_PLAIN, TL_CMYK_PIL } tl_cmyk_rule;

/* One file on its way through a codec. */
typedef struct tl_codec {
    const uint8_t *data; /* borrowed */
    size_t size;
    const tl_decode_options *options; /* borrowed */
    bool header_only;                 /* fill info and stop */
    tl_image_info info;               /* out */
    tl_image image;                   /* out */
    tl_decoder *decoder;              /* borrowed; NULL with header_only */
} tl_codec;

tl_status tl_jpeg_run(tl_codec *codec, tl_error *err);
tl_status tl_png_run(tl_codec *codec, tl_error *err);

/* width, height >= 1, their product at most max_pixels, and not absurd for the file's size. */
tl_status tl_codec_check_size(const tl_codec *codec, uint64_t width, uint64_t height,
                              tl_error *err);

/* Reserves height rows of width * channels bytes (and row_bytes of scratch) and describes them in
 * codec->image. */
tl_status tl_codec_reserve(tl_codec *codec, int width, int height, int channels, size_t row_bytes,
                           tl_error *err);

void tl_codec_convert_row(tl_convert convert, tl_cmyk_rule rule, const uint8_t *src, uint8_t *dst,
                          int width, int channels);

static inline bool tl_codec_is_cancelled(const tl_codec *codec)
{
    return codec->options->cancel != NULL &&
           atomic_load_explicit(codec->options->cancel, memory_order_relaxed);
}

#endif
