/* Bytes of a JPEG or PNG file -> 8-bit pixels. Nothing here trusts a byte: sizes are checked
 * before memory is taken, and again after the library has made up its mind. */
#ifndef TL_IMAGE_DECODE_H
#define TL_IMAGE_DECODE_H

#include <stdatomic.h>

#include "image/image.h"

typedef struct tl_decode_options {
    int channels; /* of the result: 1, 3 or 4 */
    tl_pipeline pipeline;
    uint64_t max_pixels;             /* width * height above it is an error */
    int target_width, target_height; /* FAST: size the caller resizes to; 0: full size */
    const atomic_bool *cancel;       /* polled once per row; NULL: never */
} tl_decode_options;

/* Buffers of one thread, reused from image to image. Zero it before the first use; not shared
 * between threads. */
typedef struct tl_decoder {
    tl_buffer file;   /* content of the last file */
    tl_buffer pixels; /* last image */
    tl_buffer row;    /* one decoded row before colour conversion */
} tl_decoder;

void tl_decoder_deinit(tl_decoder *decoder);

/* Gives back what one unusually large image has left behind. */
void tl_decoder_trim(tl_decoder *decoder);

/* The first bytes decide the format, never the file name. TL_FORMAT: damaged, not an image, or a
 * format we do not read; TL_NOMEM; TL_CANCELLED. The text gives the reason without a file name.
 * out->pixels belongs to the decoder and lives until its next call. */
tl_status tl_decoder_decode(tl_decoder *decoder, const uint8_t *data, size_t size,
                            const tl_decode_options *options, tl_image *out, tl_error *err);

/* Reads the header only. */
tl_status tl_decoder_peek(const uint8_t *data, size_t size, uint64_t max_pixels,
                          tl_image_info *out, tl_error *err);

#endif
