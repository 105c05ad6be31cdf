#include "image/resize.h"

#include <math.h>
#include <string.h>

#include "image/resample.h"

#define MAX_SIDE 65536
#define KEEP_BYTES ((size_t)16 << 20)

static const char *const pipeline_names[] = {
#define X(name, text) text,
    TL_PIPELINES(X)
#undef X
};

static const char *const interpolation_names[] = {
#define X(name, text) text,
    TL_INTERPOLATIONS(X)
#undef X
};

void tl_resizer_deinit(tl_resizer *resizer)
{
    tl_buffer_deinit(&resizer->x_table);
    tl_buffer_deinit(&resizer->y_table);
    tl_buffer_deinit(&resizer->rows);
    tl_buffer_deinit(&resizer->line);
    tl_buffer_deinit(&resizer->premultiplied);
}

void tl_resizer_trim(tl_resizer *resizer)
{
    tl_buffer_trim(&resizer->x_table, KEEP_BYTES);
    tl_buffer_trim(&resizer->y_table, KEEP_BYTES);
    tl_buffer_trim(&resizer->rows, KEEP_BYTES);
    tl_buffer_trim(&resizer->line, KEEP_BYTES);
    tl_buffer_trim(&resizer->premultiplied, KEEP_BYTES);
}

tl_status tl_resize_check(const tl_resize_spec *spec, tl_error *err)
{
    if (spec->width < 1 || spec->height < 1 || spec->width > MAX_SIDE || spec->height > MAX_SIDE)
        return tl_fail(err, TL_ARG, "cannot resize to height %d, width %d: each must be 1 to %d",
                       spec->height, spec->width, MAX_SIDE);
    bool tf = spec->pipeline == TL_PIPELINE_KERAS;
    if (tf && spec->interpolation > TL_INTERPOLATION_BICUBIC)
        return tl_fail(err, TL_UNSUPPORTED,
                       "interpolation '%s' does not exist in pipeline '%s'; use 'bilinear', "
                       "'nearest' or 'bicubic', or pipeline 'pil'",
                       interpolation_names[spec->interpolation], pipeline_names[spec->pipeline]);
    return TL_OK;
}

/* smart_resize of Keras computes in float32, load_img(keep_aspect_ratio=True) in integers. */
static tl_box crop_box(const tl_pixels *src, const tl_resize_spec *spec)
{
    int64_t w = src->width, h = src->height, tw = spec->width, th = spec->height;
    int64_t crop_h = w * th / tw, crop_w = h * tw / th;
    if (spec->pipeline == TL_PIPELINE_KERAS) {
        crop_h = (int64_t)((float)(w * th) / (float)tw);
        crop_w = (int64_t)((float)(h * tw) / (float)th);
    }
    crop_h = crop_h < 1 ? 1 : crop_h > h ? h : crop_h;
    crop_w = crop_w < 1 ? 1 : crop_w > w ? w : crop_w;
    return (tl_box){(int)((w - crop_w) / 2), (int)((h - crop_h) / 2), (int)crop_w, (int)crop_h};
}

/* Where tf.image.resize_with_pad puts the image: float32 throughout. An image so narrow that its
 * scaled side would be 0 gets 1 pixel, where TensorFlow fails. */
static tl_box pad_box(const tl_pixels *src, const tl_resize_spec *spec)
{
    float w = (float)src->width, h = (float)src->height;
    float tw = (float)spec->width, th = (float)spec->height;
    float ratio = fmaxf(w / tw, h / th);
    float exact_h = h / ratio, exact_w = w / ratio;
    int height = (int)floorf(exact_h), width = (int)floorf(exact_w);
    int top = (int)floorf((th - exact_h) / 2.0f), left = (int)floorf((tw - exact_w) / 2.0f);
    height = height < 1 ? 1 : height > spec->height ? spec->height : height;
    width = width < 1 ? 1 : width > spec->width ? spec->width : width;
    top = top < 0 ? 0 : top > spec->height - height ? spec->height - height : top;
    left = left < 0 ? 0 : left > spec->width - width ? spec->width - width : left;
    return (tl_box){left, top, width, height};
}

/* Source box and destination box of one image. */
static void place(const tl_pixels *src, const tl_resize_spec *spec, tl_box *from, tl_box *to)
{
    *from = (tl_box){0, 0, src->width, src->height};
    *to = (tl_box){0, 0, spec->width, spec->height};
    if (src->width == spec->width && src->height == spec->height)
        return;
    if (spec->fit == TL_FIT_CROP)
        *from = crop_box(src, spec);
    else if (spec->fit == TL_FIT_PAD)
        *to = pad_box(src, spec);
}

static tl_pixels view_of(const tl_pixels *src, const tl_box *box)
{
    tl_pixels view = *src;
    size_t offset = (size_t)box->y * src->stride + (size_t)box->x * (size_t)src->channels;
    view.data = (const uint8_t *)src->data + offset * (src->is_float ? sizeof(float) : 1);
    view.width = box->width;
    view.height = box->height;
    return view;
}

static tl_status fill_nearest(tl_resizer *resizer, const tl_pixels *src, tl_pipeline pipeline,
                              const tl_box *from, const tl_box *to, tl_error *err)
{
    TL_TRY(tl_buffer_reserve(&resizer->x_table, sizeof(int) * (size_t)to->width, "a resize table",
                             err));
    TL_TRY(tl_buffer_reserve(&resizer->y_table, sizeof(int) * (size_t)to->height, "a resize table",
                             err));
    int *columns = resizer->x_table.data, *lines = resizer->y_table.data;
    if (pipeline == TL_PIPELINE_KERAS) {
        tl_nearest_tf(columns, to->width, from->width);
        tl_nearest_tf(lines, to->height, from->height);
        for (int x = 0; x < to->width; x++)
            columns[x] += from->x;
        for (int y = 0; y < to->height; y++)
            lines[y] += from->y;
    } else {
        tl_nearest_pil(columns, to->width, src->width, from->x, from->width);
        tl_nearest_pil(lines, to->height, src->height, from->y, from->height);
    }
    return TL_OK;
}

static void gather_u8(const uint8_t *row, const int *columns, int width, int channels, uint8_t *to)
{
    for (int x = 0; x < width; x++)
        for (int c = 0; c < channels; c++)
            *to++ = row[(size_t)columns[x] * (size_t)channels + (size_t)c];
}

static void gather_float(const tl_pixels *src, int y, const int *columns, int width, float *to)
{
    size_t offset = (size_t)y * src->stride;
    const uint8_t *bytes = (const uint8_t *)src->data + offset;
    const float *floats = (const float *)src->data + offset;
    for (int x = 0; x < width; x++) {
        size_t at = (size_t)columns[x] * (size_t)src->channels;
        for (int c = 0; c < src->channels; c++)
            *to++ = src->is_float ? floats[at + (size_t)c] : (float)bytes[at + (size_t)c];
    }
}

static tl_status check_source(const tl_pixels *src, const tl_resize_spec *spec, tl_error *err)
{
    TL_TRY(tl_resize_check(spec, err));
    if (src->width < 1 || src->height < 1 || src->channels < 1 || src->channels > TL_MAX_CHANNELS)
        return tl_fail(err, TL_SHAPE,
                       "cannot resize an image of height %d, width %d, channels %d (channels: 1 "
                       "to %d)",
                       src->height, src->width, src->channels, TL_MAX_CHANNELS);
    return TL_OK;
}

tl_status tl_resizer_run(tl_resizer *resizer, const tl_pixels *src, const tl_resize_spec *spec,
                         float *dst, tl_error *err)
{
    TL_TRY(check_source(src, spec, err));
    bool nearest = spec->interpolation == TL_INTERPOLATION_NEAREST;
    bool tf = spec->pipeline == TL_PIPELINE_KERAS;
    if (src->is_float && !tf && !nearest)
        return tl_fail(err, TL_UNSUPPORTED,
                       "pipeline '%s' resizes uint8 pixels only; use pipeline 'keras' for float32",
                       pipeline_names[spec->pipeline]);
    tl_box from, to;
    place(src, spec, &from, &to);
    size_t stride = (size_t)spec->width * (size_t)src->channels;
    if (to.width != spec->width || to.height != spec->height)
        memset(dst, 0, stride * (size_t)spec->height * sizeof *dst);
    tl_target target = {dst + (size_t)to.y * stride + (size_t)to.x * (size_t)src->channels, stride,
                        to.width, to.height};
    if (nearest) {
        TL_TRY(fill_nearest(resizer, src, spec->pipeline, &from, &to, err));
        const int *columns = resizer->x_table.data, *lines = resizer->y_table.data;
        for (int y = 0; y < to.height; y++)
            gather_float(src, lines[y], columns, to.width, target.data + (size_t)y * stride);
        return TL_OK;
    }
    if (!tf)
        return tl_resample_pil(resizer, src, &from, spec->interpolation, &target, err);
    tl_pixels view = view_of(src, &from);
    if (spec->interpolation == TL_INTERPOLATION_BILINEAR)
        return tl_resample_tf_bilinear(resizer, &view, &target, err);
    return tl_resample_tf_bicubic(resizer, &view, &target, err);
}

tl_status tl_resizer_run_u8(tl_resizer *resizer, const tl_pixels *src, const tl_resize_spec *spec,
                            uint8_t *dst, tl_error *err)
{
    TL_TRY(check_source(src, spec, err));
    if (src->is_float || spec->interpolation != TL_INTERPOLATION_NEAREST)
        return tl_fail(err, TL_ARG, "only nearest neighbours of uint8 pixels stay uint8");
    tl_box from, to;
    place(src, spec, &from, &to);
    size_t stride = (size_t)spec->width * (size_t)src->channels;
    if (to.width != spec->width || to.height != spec->height)
        memset(dst, 0, stride * (size_t)spec->height);
    TL_TRY(fill_nearest(resizer, src, spec->pipeline, &from, &to, err));
    const int *columns = resizer->x_table.data, *lines = resizer->y_table.data;
    dst += (size_t)to.y * stride + (size_t)to.x * (size_t)src->channels;
    for (int y = 0; y < to.height; y++)
        gather_u8((const uint8_t *)src->data + (size_t)lines[y] * src->stride, columns, to.width,
                  src->channels, dst + (size_t)y * stride);
    return TL_OK;
}
