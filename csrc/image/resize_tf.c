/* TensorFlow's ResizeBilinear and ResizeBicubic with half-pixel centres and no antialiasing.
 * Exactness: every intermediate is a float32 and no product may be fused into an addition. The
 * build targets baseline x86-64, which has no fused multiply-add, so plain C is exact; a build for
 * a CPU with FMA needs -ffp-contract=off for this file. */
#include <math.h>
#include <stddef.h>

#include "image/resample.h"

/* Two source positions (in elements, so already times channels for columns) and their mix. */
typedef struct tl_tap2 {
    int lower, upper;
    float lerp;
} tl_tap2;

typedef struct tl_tap4 {
    int index[4];
    float weight[4];
} tl_tap4;

static float source_of(int i, float scale)
{
    return ((float)i + 0.5f) * scale - 0.5f;
}

static void fill_taps2(tl_tap2 *taps, int out, int in, int step)
{
    float scale = (float)in / (float)out;
    for (int i = 0; i < out; i++) {
        float at = source_of(i, scale), floor_at = floorf(at);
        int lower = (int)floor_at, upper = (int)ceilf(at);
        taps[i].lower = (lower > 0 ? lower : 0) * step;
        taps[i].upper = (upper < in - 1 ? upper : in - 1) * step;
        taps[i].lerp = at - floor_at;
    }
}

static inline __attribute__((always_inline)) float load(const void *row, bool is_float, int i)
{
    return is_float ? ((const float *)row)[i] : (float)((const uint8_t *)row)[i];
}

static inline __attribute__((always_inline)) void mix_columns(const void *row, bool is_float,
                                                              int channels, const tl_tap2 *taps,
                                                              int width, float *to)
{
    for (int x = 0; x < width; x++) {
        tl_tap2 tap = taps[x];
        for (int c = 0; c < channels; c++) {
            float left = load(row, is_float, tap.lower + c);
            float right = load(row, is_float, tap.upper + c);
            to[x * channels + c] = left + (right - left) * tap.lerp;
        }
    }
}

static void mix_row(const tl_pixels *src, int y, const tl_tap2 *taps, int width, float *to)
{
    size_t offset = (size_t)y * src->stride;
    const uint8_t *bytes = (const uint8_t *)src->data + offset;
    /* constants, so that each case becomes a loop of its own */
    if (src->is_float)
        mix_columns((const float *)src->data + offset, true, src->channels, taps, width, to);
    else if (src->channels == 3)
        mix_columns(bytes, false, 3, taps, width, to);
    else
        mix_columns(bytes, false, src->channels, taps, width, to);
}

tl_status tl_resample_tf_bilinear(tl_resizer *resizer, const tl_pixels *src,
                                  const tl_target *target, tl_error *err)
{
    int width = target->width, height = target->height;
    size_t row = (size_t)width * (size_t)src->channels;
    TL_TRY(tl_buffer_reserve(&resizer->x_table, sizeof(tl_tap2) * (size_t)width, "a resize table",
                             err));
    TL_TRY(tl_buffer_reserve(&resizer->y_table, sizeof(tl_tap2) * (size_t)height, "a resize table",
                             err));
    TL_TRY(tl_buffer_reserve(&resizer->rows, 2 * row * sizeof(float), "two resized rows", err));
    tl_tap2 *columns = resizer->x_table.data, *lines = resizer->y_table.data;
    fill_taps2(columns, width, src->width, src->channels);
    fill_taps2(lines, height, src->height, 1);

    float *top = resizer->rows.data, *bottom = top + row;
    int top_y = -1, bottom_y = -1; /* source rows they hold */
    for (int y = 0; y < height; y++) {
        tl_tap2 line = lines[y];
        if (line.lower != top_y && line.lower == bottom_y) {
            float *swap = top;
            top = bottom;
            bottom = swap;
            top_y = bottom_y;
            bottom_y = -1;
        }
        if (line.lower != top_y)
            mix_row(src, top_y = line.lower, columns, width, top);
        if (line.upper != bottom_y)
            mix_row(src, bottom_y = line.upper, columns, width, bottom);
        float *restrict to = target->data + (size_t)y * target->stride;
        for (size_t i = 0; i < row; i++)
            to[i] = top[i] + (bottom[i] - top[i]) * line.lerp;
    }
    return TL_OK;
}

/* Keys' cubic with a = -0.5, looked up at 1/1024 of a pixel as TensorFlow does. */
#define TABLE_SIZE 1024

static float near_weight(int offset) /* distance offset / 1024, in [0, 1] */
{
    const double a = -0.5;
    float x = (float)(offset * 1.0 / TABLE_SIZE);
    return (float)(((a + 2) * x - (a + 3)) * x * x + 1);
}

static float far_weight(int offset) /* distance 1 + offset / 1024 */
{
    const double a = -0.5;
    float x = (float)(offset * 1.0 / TABLE_SIZE);
    x = (float)(x + 1.0);
    return (float)(((a * x - 5 * a) * x + 8 * a) * x - 4 * a);
}

/* Taps outside the image get no weight, the others are scaled to a sum of one. */
static void fill_taps4(tl_tap4 *taps, int out, int in, int step)
{
    float scale = (float)in / (float)out;
    for (int i = 0; i < out; i++) {
        float at = source_of(i, scale), floor_at = floorf(at);
        int base = (int)floor_at;
        int offset = (int)lrintf((at - floor_at) * TABLE_SIZE);
        float weight[4] = {far_weight(offset), near_weight(offset),
                           near_weight(TABLE_SIZE - offset), far_weight(TABLE_SIZE - offset)};
        for (int k = 0; k < 4; k++) {
            int index = base - 1 + k;
            int inside = index < 0 ? 0 : index > in - 1 ? in - 1 : index;
            if (inside != index)
                weight[k] = 0.0f;
            taps[i].index[k] = inside * step;
        }
        float sum = weight[0] + weight[1] + weight[2] + weight[3];
        float inverse = 1.0f / sum; /* the nearest tap is always inside, so sum > 0 */
        for (int k = 0; k < 4; k++)
            taps[i].weight[k] = weight[k] * inverse;
    }
}

static inline __attribute__((always_inline)) void mix_lines(const tl_pixels *src, bool is_float,
                                                            const tl_tap4 *line, size_t n,
                                                            float *restrict to)
{
    size_t size = is_float ? sizeof(float) : 1;
    const uint8_t *base = src->data;
    const void *row[4];
    for (int k = 0; k < 4; k++)
        row[k] = base + (size_t)line->index[k] * src->stride * size;
    for (size_t i = 0; i < n; i++)
        to[i] = load(row[0], is_float, (int)i) * line->weight[0] +
                load(row[1], is_float, (int)i) * line->weight[1] +
                load(row[2], is_float, (int)i) * line->weight[2] +
                load(row[3], is_float, (int)i) * line->weight[3];
}

tl_status tl_resample_tf_bicubic(tl_resizer *resizer, const tl_pixels *src,
                                 const tl_target *target, tl_error *err)
{
    int width = target->width, height = target->height, channels = src->channels;
    size_t in_row = (size_t)src->width * (size_t)channels;
    TL_TRY(tl_buffer_reserve(&resizer->x_table, sizeof(tl_tap4) * (size_t)width, "a resize table",
                             err));
    TL_TRY(tl_buffer_reserve(&resizer->y_table, sizeof(tl_tap4) * (size_t)height, "a resize table",
                             err));
    TL_TRY(tl_buffer_reserve(&resizer->rows, in_row * sizeof(float), "a resized row", err));
    tl_tap4 *columns = resizer->x_table.data, *lines = resizer->y_table.data;
    fill_taps4(columns, width, src->width, channels);
    fill_taps4(lines, height, src->height, 1);

    float *mixed = resizer->rows.data;
    for (int y = 0; y < height; y++) {
        /* TensorFlow mixes the four rows first, then the four columns */
        if (src->is_float)
            mix_lines(src, true, &lines[y], in_row, mixed);
        else
            mix_lines(src, false, &lines[y], in_row, mixed);
        float *to = target->data + (size_t)y * target->stride;
        for (int x = 0; x < width; x++) {
            const tl_tap4 *tap = &columns[x];
            for (int c = 0; c < channels; c++)
                to[x * channels + c] = mixed[tap->index[0] + c] * tap->weight[0] +
                                       mixed[tap->index[1] + c] * tap->weight[1] +
                                       mixed[tap->index[2] + c] * tap->weight[2] +
                                       mixed[tap->index[3] + c] * tap->weight[3];
        }
    }
    return TL_OK;
}

void tl_nearest_tf(int *index, int out, int in)
{
    float scale = (float)in / (float)out;
    for (int i = 0; i < out; i++) {
        int at = (int)floorf(((float)i + 0.5f) * scale);
        index[i] = at < in - 1 ? at : in - 1;
    }
}
