#include "image/decode.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "image/codec.h"

/* A blank image compresses to some 8,000 pixels per byte at the very best (1-bit PNG); a header
 * that promises more than this lies. */
#define MAX_PIXELS_PER_BYTE 20000u

/* Enough for a 12-megapixel photograph; larger ones give their memory back. */
#define KEEP_BYTES ((size_t)64 << 20)

void tl_decoder_deinit(tl_decoder *decoder)
{
    tl_buffer_deinit(&decoder->file);
    tl_buffer_deinit(&decoder->pixels);
    tl_buffer_deinit(&decoder->row);
}

void tl_decoder_trim(tl_decoder *decoder)
{
    tl_buffer_trim(&decoder->file, KEEP_BYTES);
    tl_buffer_trim(&decoder->pixels, KEEP_BYTES);
    tl_buffer_trim(&decoder->row, KEEP_BYTES);
}

tl_status tl_codec_check_size(const tl_codec *codec, uint64_t width, uint64_t height,
                              tl_error *err)
{
    uint64_t limit = codec->options->max_pixels;
    if (width < 1 || height < 1)
        return tl_fail(err, TL_FORMAT,
                       "the header gives a size of %" PRIu64 " x %" PRIu64 " pixels", width,
                       height);
    if (width > INT32_MAX || height > INT32_MAX || width > limit / height)
        return tl_fail(err, TL_FORMAT,
                       "%" PRIu64 " x %" PRIu64 " pixels are more than the limit of %" PRIu64
                       " pixels for one image; make it smaller",
                       width, height, limit);
    if (width * height / MAX_PIXELS_PER_BYTE > codec->size)
        return tl_fail(err, TL_FORMAT,
                       "the header promises %" PRIu64 " x %" PRIu64
                       " pixels, but the file has only %zu bytes",
                       width, height, codec->size);
    return TL_OK;
}

tl_status tl_codec_reserve(tl_codec *codec, int width, int height, int channels, size_t row_bytes,
                           tl_error *err)
{
    size_t bytes;
    if (!tl_mul((size_t)width, (size_t)height, &bytes) || !tl_mul(bytes, (size_t)channels, &bytes))
        return tl_fail(err, TL_NOMEM, "%d x %d pixels do not fit in memory", width, height);
    TL_TRY(tl_buffer_reserve(&codec->decoder->pixels, bytes, "the pixels of an image", err));
    TL_TRY(tl_buffer_reserve(&codec->decoder->row, row_bytes, "a row of an image", err));
    codec->image = (tl_image){width, height, channels, codec->decoder->pixels.data};
    return TL_OK;
}

/* Pillow's integer luma: ITU-R 601 in 16-bit fixed point, rounded. */
static uint8_t luma(unsigned r, unsigned g, unsigned b)
{
    return (uint8_t)((r * 19595u + g * 38470u + b * 7471u + 0x8000u) >> 16);
}

/* Pillow's a * b / 255, rounded. */
static unsigned multiply_255(unsigned a, unsigned b)
{
    unsigned t = a * b + 128u;
    return ((t >> 8) + t) >> 8;
}

static unsigned cmyk_channel(tl_cmyk_rule rule, unsigned ink, unsigned key)
{
    switch (rule) {
        case TL_CMYK_ADOBE:
            return key * ink / 255u;
        case TL_CMYK_PLAIN:
            return (255u - key) * (255u - ink) / 255u;
        case TL_CMYK_PIL:
            break;
    }
    return key - multiply_255(255u - ink, key); /* never negative: the product is at most key */
}

static void convert_cmyk_row(tl_cmyk_rule rule, const uint8_t *src, uint8_t *dst, int width,
                             int channels)
{
    for (int x = 0; x < width; x++, src += 4, dst += channels) {
        unsigned r = cmyk_channel(rule, src[0], src[3]);
        unsigned g = cmyk_channel(rule, src[1], src[3]);
        unsigned b = cmyk_channel(rule, src[2], src[3]);
        if (channels == 1) {
            dst[0] = luma(r, g, b);
            continue;
        }
        dst[0] = (uint8_t)r;
        dst[1] = (uint8_t)g;
        dst[2] = (uint8_t)b;
        if (channels == 4)
            dst[3] = 255;
    }
}

void tl_codec_convert_row(tl_convert convert, tl_cmyk_rule rule, const uint8_t *src, uint8_t *dst,
                          int width, int channels)
{
    switch (convert) {
        case TL_CONVERT_NONE:
            memcpy(dst, src, (size_t)width * (size_t)channels);
            break;
        case TL_CONVERT_GRAY_TO_RGB:
            for (int x = 0; x < width; x++, dst += 3)
                dst[0] = dst[1] = dst[2] = src[x];
            break;
        case TL_CONVERT_GRAY_TO_RGBA:
            for (int x = 0; x < width; x++, dst += 4) {
                dst[0] = dst[1] = dst[2] = src[x];
                dst[3] = 255;
            }
            break;
        case TL_CONVERT_RGB_TO_GRAY:
            for (int x = 0; x < width; x++, src += 3)
                dst[x] = luma(src[0], src[1], src[2]);
            break;
        case TL_CONVERT_CMYK:
            convert_cmyk_row(rule, src, dst, width, channels);
            break;
    }
}

/* Formats people keep in image folders and that we do not read: a sentence beats "not an image".
 */
static const struct {
    const char *name;
    size_t offset, length;
    const char *bytes;
} foreign[] = {
    {"GIF", 0, 4, "GIF8"},       {"BMP", 0, 2, "BM"},           {"WebP", 8, 4, "WEBP"},
    {"TIFF", 0, 4, "II*\0"},     {"TIFF", 0, 4, "MM\0*"},       {"JPEG 2000", 4, 4, "jP  "},
    {"JPEG XL", 4, 4, "JXL "},   {"JPEG XL", 0, 2, "\xff\x0a"}, {"AVIF or HEIC", 4, 4, "ftyp"},
    {"Photoshop", 0, 4, "8BPS"}, {"PDF", 0, 4, "%PDF"},         {"SVG", 0, 4, "<svg"},
};

static tl_status fail_unknown(const uint8_t *data, size_t size, tl_error *err)
{
    if (size == 0)
        return tl_fail(err, TL_FORMAT, "the file is empty (0 bytes)");
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        if (size >= foreign[i].offset + foreign[i].length &&
            memcmp(data + foreign[i].offset, foreign[i].bytes, foreign[i].length) == 0)
            return tl_fail(err, TL_FORMAT, "unsupported format: %s; convert to JPEG or PNG",
                           foreign[i].name);
    char start[3 * 8 + 1] = "";
    for (size_t i = 0; i < size && i < 8; i++) {
        static const char digits[] = "0123456789abcdef";
        memcpy(start + 3 * i, (char[]){' ', digits[data[i] >> 4], digits[data[i] & 15], '\0'}, 4);
    }
    return tl_fail(err, TL_FORMAT, "not an image: neither JPEG nor PNG (it starts with%s)", start);
}

static tl_status dispatch(tl_codec *codec, tl_error *err)
{
    static const uint8_t png_start[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    const uint8_t *data = codec->data;
    if (codec->size >= 3 && data[0] == 0xff && data[1] == 0xd8 && data[2] == 0xff) {
        codec->info.format = TL_IMAGE_JPEG;
        return tl_jpeg_run(codec, err);
    }
    if (codec->size >= 8 && memcmp(data, png_start, 8) == 0) {
        codec->info.format = TL_IMAGE_PNG;
        return tl_png_run(codec, err);
    }
    return fail_unknown(data, codec->size, err);
}

tl_status tl_decoder_decode(tl_decoder *decoder, const uint8_t *data, size_t size,
                            const tl_decode_options *options, tl_image *out, tl_error *err)
{
    int channels = options->channels;
    if (channels != 1 && channels != 3 && channels != 4)
        return tl_fail(err, TL_ARG, "channels is %d; allowed are 1, 3 and 4", channels);
    tl_codec codec = {.data = data, .size = size, .options = options, .decoder = decoder};
    TL_TRY(dispatch(&codec, err));
    *out = codec.image;
    return TL_OK;
}

tl_status tl_decoder_peek(const uint8_t *data, size_t size, uint64_t max_pixels,
                          tl_image_info *out, tl_error *err)
{
    tl_decode_options options = {.channels = 3, .max_pixels = max_pixels};
    tl_codec codec = {.data = data, .size = size, .options = &options, .header_only = true};
    TL_TRY(dispatch(&codec, err));
    *out = codec.info;
    return TL_OK;
}
