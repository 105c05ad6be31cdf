/* PNG through libpng's row interface (its simplified interface applies gamma and has the worse
 * record). Errors leave by longjmp: run_guarded has the one setjmp of this file, and whatever must
 * be released lives in struct png_job. */
#include <setjmp.h>
#include <string.h>

#include <png.h>

#include "image/codec.h"

struct png_job {
    png_structp png;
    png_infop info;
    size_t offset; /* read so far of codec->data */
    jmp_buf escape;
    tl_codec *codec;
    tl_error *err;
    tl_status status;
};

_Noreturn static void escape_with(struct png_job *job, tl_status status)
{
    job->status = status;
    longjmp(job->escape, 1);
}

_Noreturn static void handle_error(png_structp png, png_const_charp text)
{
    struct png_job *job = png_get_error_ptr(png);
    bool memory = strstr(text, "emory") != NULL; /* "Out of memory", "Insufficient memory ..." */
    escape_with(job, tl_fail(job->err, memory ? TL_NOMEM : TL_FORMAT, "damaged PNG: %s", text));
}

/* Warnings do not stop TensorFlow or Pillow either, and must not reach standard error. */
static void ignore_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void read_bytes(png_structp png, png_bytep to, size_t count)
{
    struct png_job *job = png_get_io_ptr(png);
    if (count > job->codec->size - job->offset)
        escape_with(
            job, tl_fail(job->err, TL_FORMAT, "the PNG data is truncated: it ends after %zu bytes",
                         job->codec->size));
    memcpy(to, job->codec->data + job->offset, count);
    job->offset += count;
}

static uint32_t big_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
           bytes[3];
}

/* Before libpng sees the file, so that our limit and our words apply, not its "invalid IHDR". */
static tl_status check_header(const tl_codec *codec, tl_error *err)
{
    if (codec->size < 33)
        return tl_fail(err, TL_FORMAT, "the PNG data is truncated: it ends after %zu bytes",
                       codec->size);
    const uint8_t *chunk = codec->data + 8;
    if (big_endian(chunk) != 13 || memcmp(chunk + 4, "IHDR", 4) != 0)
        return tl_fail(err, TL_FORMAT, "damaged PNG: it does not begin with its header chunk");
    return tl_codec_check_size(codec, big_endian(chunk + 8), big_endian(chunk + 12), err);
}

/* Asks libpng for 8-bit rows with exactly `wanted` channels. */
static void set_transforms(struct png_job *job, int wanted)
{
    png_structp png = job->png;
    png_byte type = png_get_color_type(png, job->info);
    bool palette = type == PNG_COLOR_TYPE_PALETTE;
    bool gray = !(type & PNG_COLOR_MASK_COLOR);
    bool key = png_get_valid(png, job->info, PNG_INFO_tRNS) != 0;
    bool alpha = (type & PNG_COLOR_MASK_ALPHA) != 0;
    png_set_strip_16(png); /* the high byte, as TensorFlow does */
    if (palette)
        png_set_palette_to_rgb(png);
    if (gray)
        png_set_expand_gray_1_2_4_to_8(png);
    if (key && wanted == 4)
        png_set_tRNS_to_alpha(png);
    if (wanted == 4 && !alpha && !key)
        png_set_add_alpha(png, 0xff, PNG_FILLER_AFTER);
    if (wanted != 4)
        png_set_strip_alpha(png); /* also what palette_to_rgb makes of a tRNS chunk */
    if (wanted >= 3 && gray)
        png_set_gray_to_rgb(png);
    if (wanted == 1 && !gray)
        png_set_rgb_to_gray(png, PNG_ERROR_ACTION_NONE, 0.299, 0.587);
}

static int stored_channels(struct png_job *job)
{
    png_byte type = png_get_color_type(job->png, job->info);
    bool alpha = (type & PNG_COLOR_MASK_ALPHA) != 0 ||
                 png_get_valid(job->png, job->info, PNG_INFO_tRNS) != 0;
    return (type & PNG_COLOR_MASK_COLOR ? 3 : 1) + alpha;
}

static void read_rows(struct png_job *job, int passes, size_t row_bytes, bool to_gray)
{
    const tl_image *image = &job->codec->image;
    uint8_t *pixels = job->codec->decoder->pixels.data;
    for (int pass = 0; pass < passes; pass++) {
        for (int y = 0; y < image->height; y++) {
            if (tl_codec_is_cancelled(job->codec))
                escape_with(job, tl_fail(job->err, TL_CANCELLED, "decoding was cancelled"));
            png_read_row(job->png, pixels + (size_t)y * row_bytes, NULL);
        }
    }
    if (!to_gray)
        return;
    /* In place: a gray row is a third of a colour row, so writing never overtakes reading. */
    for (int y = 0; y < image->height; y++)
        tl_codec_convert_row(TL_CONVERT_RGB_TO_GRAY, TL_CMYK_PLAIN, pixels + (size_t)y * row_bytes,
                             pixels + (size_t)y * (size_t)image->width, image->width, 1);
}

static void decode_body(struct png_job *job)
{
    tl_codec *codec = job->codec;
    int channels = codec->options->channels;
    png_byte type = png_get_color_type(job->png, job->info);
    /* Pillow's rounding of colour to gray is not libpng's: take colour and convert. */
    bool to_gray = channels == 1 && (type & PNG_COLOR_MASK_COLOR) &&
                   codec->options->pipeline != TL_PIPELINE_KERAS;
    int wanted = to_gray ? 3 : channels;
    set_transforms(job, wanted);
    int passes = png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    int width = codec->info.width, height = codec->info.height;
    size_t row_bytes = (size_t)width * (size_t)wanted;
    if (png_get_rowbytes(job->png, job->info) != row_bytes)
        escape_with(job, tl_fail(job->err, TL_FORMAT, "damaged PNG: rows of %zu bytes, not %zu",
                                 png_get_rowbytes(job->png, job->info), row_bytes));
    /* Interlaced rows are read more than once, so all of them are kept, in `wanted` channels. */
    tl_status status = tl_codec_reserve(codec, width, height, wanted, 0, job->err);
    if (status != TL_OK)
        escape_with(job, status);
    codec->image.channels = channels;
    read_rows(job, passes, row_bytes, to_gray);
    png_read_end(job->png, NULL); /* checks the last checksums, so a cut-off file is noticed */
}

static void decode_all(struct png_job *job)
{
    tl_codec *codec = job->codec;
    job->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, job, handle_error, ignore_warning);
    if (job->png != NULL)
        job->info = png_create_info_struct(job->png);
    if (job->info == NULL)
        escape_with(job, tl_fail(job->err, TL_NOMEM, "not enough memory for a PNG reader"));
    png_structp png = job->png;
    png_set_read_fn(png, job, read_bytes);
    png_set_benign_errors(png, 1);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* check_header has decided */
    png_set_chunk_cache_max(png, 16);
    png_set_chunk_malloc_max(png, 1u << 20);
    /* Text, profiles, gamma, Exif: not wanted, and most of libpng's past holes. tRNS stays. */
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(png, job->info);
    codec->info.width = (int)png_get_image_width(png, job->info);
    codec->info.height = (int)png_get_image_height(png, job->info);
    codec->info.channels = stored_channels(job);
    if (!codec->header_only)
        decode_body(job);
}

/* The only setjmp of this file. */
static tl_status run_guarded(struct png_job *job)
{
    if (setjmp(job->escape) == 0)
        decode_all(job);
    png_destroy_read_struct(&job->png, &job->info, NULL); /* NULL and half-built are fine */
    return job->status;
}

tl_status tl_png_run(tl_codec *codec, tl_error *err)
{
    TL_TRY(check_header(codec, err));
    struct png_job job;
    memset(&job, 0, sizeof job);
    job.codec = codec;
    job.err = err;
    return run_guarded(&job);
}
