/* JPEG through libjpeg-turbo. The library reports errors by a callback that must not return, so
 * this file holds the one setjmp for JPEG: run_guarded. Everything that has to be released lives
 * in struct jpeg_job, never in a local variable that a longjmp could leave undefined. */
#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs FILE */
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "image/codec.h"

/* Progressive files may repeat scans without end, each costing a pass over the whole image;
 * encoders write about ten. libjpeg-turbo's own fuzzers use the same limit. */
#define MAX_SCANS 100

struct jpeg_job {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    tl_codec *codec;
    tl_error *err;
    tl_status status;
};

static struct jpeg_job *job_of(j_common_ptr cinfo)
{
    return cinfo->client_data;
}

/* Stores a status made by tl_fail and leaves the library. */
_Noreturn static void escape_with(struct jpeg_job *job, tl_status status)
{
    job->status = status;
    longjmp(job->escape, 1);
}

_Noreturn static void escape_truncated(struct jpeg_job *job)
{
    escape_with(job,
                tl_fail(job->err, TL_FORMAT, "the JPEG data is truncated: it ends after %zu bytes",
                        job->codec->size));
}

_Noreturn static void handle_error(j_common_ptr cinfo)
{
    struct jpeg_job *job = job_of(cinfo);
    char text[JMSG_LENGTH_MAX];
    cinfo->err->format_message(cinfo, text);
    int code = cinfo->err->msg_code;
    bool memory = code == JERR_OUT_OF_MEMORY || code == JERR_NO_BACKING_STORE;
    escape_with(job, tl_fail(job->err, memory ? TL_NOMEM : TL_FORMAT, "damaged JPEG: %s", text));
}

/* Warnings (a few damaged blocks, bytes between markers) do not stop TensorFlow or Pillow either.
 * They must not reach standard error. */
static void ignore_message(j_common_ptr cinfo, int level)
{
    if (level < 0)
        cinfo->err->num_warnings++;
}

static void ignore_output(j_common_ptr cinfo)
{
    (void)cinfo;
}

static void start_source(j_decompress_ptr cinfo)
{
    (void)cinfo;
}

/* The whole file is in the buffer: asking for more means that it ends too early. */
static boolean fill_source(j_decompress_ptr cinfo)
{
    escape_truncated(job_of((j_common_ptr)cinfo));
}

static void skip_source(j_decompress_ptr cinfo, long count)
{
    if (count <= 0)
        return;
    if ((unsigned long)count > cinfo->src->bytes_in_buffer)
        escape_truncated(job_of((j_common_ptr)cinfo));
    cinfo->src->next_input_byte += count;
    cinfo->src->bytes_in_buffer -= (size_t)count;
}

static void check_cancelled(struct jpeg_job *job)
{
    if (tl_codec_is_cancelled(job->codec))
        escape_with(job, tl_fail(job->err, TL_CANCELLED, "decoding was cancelled"));
}

/* Called by the library now and then while it reads all scans of a progressive file. */
static void watch_progress(j_common_ptr cinfo)
{
    struct jpeg_job *job = job_of(cinfo);
    check_cancelled(job);
    if (job->cinfo.input_scan_number > MAX_SCANS)
        escape_with(job,
                    tl_fail(job->err, TL_FORMAT, "damaged JPEG: more than %d scans", MAX_SCANS));
}

/* Largest of 8, 4, 2, 1 that leaves at least twice the target size: below that the blocks' own
 * downsampling would show in the result. */
static unsigned choose_denominator(const tl_codec *codec, unsigned width, unsigned height)
{
    const tl_decode_options *options = codec->options;
    if (options->pipeline != TL_PIPELINE_FAST || options->target_width <= 0 ||
        options->target_height <= 0)
        return 1;
    unsigned denominator = 8;
    while (denominator > 1 && (width / denominator < 2 * (unsigned)options->target_width ||
                               height / denominator < 2 * (unsigned)options->target_height))
        denominator /= 2;
    return denominator;
}

/* Chooses what the library puts out and how its rows become ours. */
static tl_convert choose_output(j_decompress_ptr cinfo, const tl_codec *codec, tl_cmyk_rule *rule,
                                int *components)
{
    int channels = codec->options->channels;
    bool pil = codec->options->pipeline == TL_PIPELINE_PIL;
    if (cinfo->num_components == 4) {
        cinfo->out_color_space = JCS_CMYK;
        *components = 4;
        *rule = pil ? TL_CMYK_PIL : cinfo->saw_Adobe_marker ? TL_CMYK_ADOBE : TL_CMYK_PLAIN;
        return TL_CONVERT_CMYK;
    }
    if (cinfo->num_components == 1) {
        cinfo->out_color_space = JCS_GRAYSCALE;
        *components = 1;
        return channels == 1   ? TL_CONVERT_NONE
               : channels == 3 ? TL_CONVERT_GRAY_TO_RGB
                               : TL_CONVERT_GRAY_TO_RGBA;
    }
    if (channels == 1 && !pil) {
        cinfo->out_color_space = JCS_GRAYSCALE; /* the Y plane, as TensorFlow takes it */
        *components = 1;
        return TL_CONVERT_NONE;
    }
    cinfo->out_color_space = channels == 4 ? JCS_EXT_RGBA : JCS_RGB;
    *components = channels == 4 ? 4 : 3;
    return channels == 1 ? TL_CONVERT_RGB_TO_GRAY : TL_CONVERT_NONE;
}

static void read_rows(struct jpeg_job *job, tl_convert convert, tl_cmyk_rule rule)
{
    j_decompress_ptr cinfo = &job->cinfo;
    const tl_image *image = &job->codec->image;
    uint8_t *to = job->codec->decoder->pixels.data;
    uint8_t *scratch = job->codec->decoder->row.data;
    size_t stride = (size_t)image->width * (size_t)image->channels;
    while (cinfo->output_scanline < cinfo->output_height) {
        check_cancelled(job);
        JSAMPROW row = convert == TL_CONVERT_NONE ? to : scratch;
        if (jpeg_read_scanlines(cinfo, &row, 1) != 1)
            escape_truncated(job);
        if (convert != TL_CONVERT_NONE)
            tl_codec_convert_row(convert, rule, scratch, to, image->width, image->channels);
        to += stride;
    }
}

/* Between jpeg_read_header and the end; may leave by longjmp at any call of the library. */
static void decode_body(struct jpeg_job *job)
{
    j_decompress_ptr cinfo = &job->cinfo;
    tl_codec *codec = job->codec;
    tl_cmyk_rule rule = TL_CMYK_PLAIN;
    int components = 0;
    tl_convert convert = choose_output(cinfo, codec, &rule, &components);
    cinfo->scale_num = 1;
    cinfo->scale_denom = choose_denominator(codec, cinfo->image_width, cinfo->image_height);
    cinfo->dct_method = codec->options->pipeline == TL_PIPELINE_KERAS ? JDCT_IFAST : JDCT_ISLOW;
    cinfo->do_fancy_upsampling = TRUE;
    jpeg_calc_output_dimensions(cinfo);
    unsigned width = cinfo->output_width, height = cinfo->output_height;
    tl_status status = tl_codec_reserve(codec, (int)width, (int)height, codec->options->channels,
                                        (size_t)width * (size_t)components, job->err);
    if (status != TL_OK)
        escape_with(job, status);
    if (!jpeg_start_decompress(cinfo))
        escape_truncated(job);
    /* The buffers above were sized before the last headers were read: compare again. */
    if (cinfo->output_width != width || cinfo->output_height != height ||
        cinfo->output_components != components)
        escape_with(
            job, tl_fail(job->err, TL_FORMAT, "damaged JPEG: its size changes inside the file"));
    read_rows(job, convert, rule);
    jpeg_finish_decompress(cinfo); /* reads to the end marker, so a cut-off file is noticed */
}

static void decode_all(struct jpeg_job *job)
{
    j_decompress_ptr cinfo = &job->cinfo;
    tl_codec *codec = job->codec;
    jpeg_create_decompress(cinfo);
    cinfo->client_data = job;
    cinfo->src = &job->source;
    cinfo->progress = &job->progress;
    if (jpeg_read_header(cinfo, TRUE) != JPEG_HEADER_OK)
        escape_truncated(job);
    tl_status status =
        tl_codec_check_size(codec, cinfo->image_width, cinfo->image_height, job->err);
    if (status != TL_OK)
        escape_with(job, status);
    int n = cinfo->num_components;
    if (n != 1 && n != 3 && n != 4)
        escape_with(job, tl_fail(job->err, TL_FORMAT,
                                 "unsupported JPEG: %d colour components (1, 3 or 4 allowed)", n));
    codec->info.width = (int)cinfo->image_width;
    codec->info.height = (int)cinfo->image_height;
    codec->info.channels = n;
    if (!codec->header_only)
        decode_body(job);
}

/* The only setjmp of this file. */
static tl_status run_guarded(struct jpeg_job *job)
{
    if (setjmp(job->escape) == 0)
        decode_all(job);
    /* also after an error inside jpeg_create_decompress, which may have allocated: cinfo was
     * zeroed */
    jpeg_destroy_decompress(&job->cinfo);
    return job->status;
}

tl_status tl_jpeg_run(tl_codec *codec, tl_error *err)
{
    struct jpeg_job job;
    memset(&job, 0, sizeof job);
    job.codec = codec;
    job.err = err;
    job.cinfo.err = jpeg_std_error(&job.errors);
    job.cinfo.client_data = &job; /* jpeg_create_decompress keeps it */
    job.errors.error_exit = handle_error;
    job.errors.emit_message = ignore_message;
    job.errors.output_message = ignore_output;
    job.source.next_input_byte = codec->data;
    job.source.bytes_in_buffer = codec->size;
    job.source.init_source = start_source;
    job.source.fill_input_buffer = fill_source;
    job.source.skip_input_data = skip_source;
    job.source.resync_to_restart = jpeg_resync_to_restart;
    job.source.term_source = start_source;
    job.progress.progress_monitor = watch_progress;
    return run_guarded(&job);
}
