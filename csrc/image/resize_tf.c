/* TensorFlow's ResizeBilinear and ResizeBicubic with half-pixel centres and no antialiasing.
 * Exactness: every intermediate is a float32 and no product may be fused into an addition. The
 * build targets baseline x86-64, which has no fused multiply-add, so plain C is exact; a build for
 * a CPU with FMA needs -ffp-contract=off for this file. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "image/resample.h"
#include "image/simd.h"

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

/* The same for 3 or 4 channels of bytes; reads one byte beyond the row, writes one float beyond.
 */
static void mix_colours(const uint8_t *row, int channels, const tl_tap2 *taps, int width,
                        float *to)
{
    for (int x = 0; x < width; x++, to += channels) {
        __m128 left = tl_simd_floats_of_bytes(row + taps[x].lower);
        __m128 right = tl_simd_floats_of_bytes(row + taps[x].upper);
        _mm_storeu_ps(to, tl_simd_lerp(left, right, _mm_set1_ps(taps[x].lerp)));
    }
}

/* Source row y at the target's width. `spare` has room for a source row. */
static void mix_row(const tl_pixels *src, int y, const tl_tap2 *taps, int width, uint8_t *spare,
                    float *to)
{
    size_t offset = (size_t)y * src->stride;
    const uint8_t *bytes = (const uint8_t *)src->data + offset;
    if (src->is_float) {
        mix_columns((const float *)src->data + offset, true, src->channels, taps, width, to);
    } else if (src->channels == 3 || src->channels == 4) {
        if (y == src->height - 1) /* what lies behind the last row is not ours to read */
            bytes = memcpy(spare, bytes, (size_t)src->width * (size_t)src->channels);
        mix_colours(bytes, src->channels, taps, width, to);
    } else {
        mix_columns(bytes, false, src->channels, taps, width, to);
    }
}

/* top + (bottom - top) * mix */
static void mix_two_rows(const float *top, const float *bottom, float mix, size_t n, float *to)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        _mm_storeu_ps(to + i, tl_simd_lerp(_mm_loadu_ps(top + i), _mm_loadu_ps(bottom + i),
                                           _mm_set1_ps(mix)));
    for (; i < n; i++)
        to[i] = top[i] + (bottom[i] - top[i]) * mix;
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
    TL_TRY(tl_buffer_reserve(&resizer->rows, 2 * (row + TL_SIMD_ROOM) * sizeof(float),
                             "two resized rows", err));
    TL_TRY(tl_buffer_reserve(&resizer->line,
                             (size_t)src->width * (size_t)src->channels + TL_SIMD_ROOM,
                             "a row of an image", err));
    tl_tap2 *columns = resizer->x_table.data, *lines = resizer->y_table.data;
    fill_taps2(columns, width, src->width, src->channels);
    fill_taps2(lines, height, src->height, 1);

    float *top = resizer->rows.data, *bottom = top + row + TL_SIMD_ROOM;
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
            mix_row(src, top_y = line.lower, columns, width, resizer->line.data, top);
        if (line.upper != bottom_y)
            mix_row(src, bottom_y = line.upper, columns, width, resizer->line.data, bottom);
        mix_two_rows(top, bottom, line.lerp, row, target->data + (size_t)y * target->stride);
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

static inline __attribute__((always_inline)) __m128 load_4(const void *row, bool is_float,
                                                           size_t i)
{
    return is_float ? _mm_loadu_ps((const float *)row + i)
                    : tl_simd_floats_of_bytes((const uint8_t *)row + i);
}

/* ((a w0 + b w1) + c w2) + d w3, in this order */
static __m128 weigh_4(__m128 a, __m128 b, __m128 c, __m128 d, const float weight[4])
{
    __m128 sum = _mm_mul_ps(a, _mm_set1_ps(weight[0]));
    sum = _mm_add_ps(sum, _mm_mul_ps(b, _mm_set1_ps(weight[1])));
    sum = _mm_add_ps(sum, _mm_mul_ps(c, _mm_set1_ps(weight[2])));
    return _mm_add_ps(sum, _mm_mul_ps(d, _mm_set1_ps(weight[3])));
}

static inline __attribute__((always_inline)) void mix_lines(const tl_pixels *src, bool is_float,
                                                            const tl_tap4 *line, size_t n,
                                                            float *restrict to)
{
    size_t size = is_float ? sizeof(float) : 1, i = 0;
    const uint8_t *base = src->data;
    const void *row[4];
    for (int k = 0; k < 4; k++)
        row[k] = base + (size_t)line->index[k] * src->stride * size;
    for (; i + 4 <= n; i += 4)
        _mm_storeu_ps(to + i, weigh_4(load_4(row[0], is_float, i), load_4(row[1], is_float, i),
                                      load_4(row[2], is_float, i), load_4(row[3], is_float, i),
                                      line->weight));
    for (; i < n; i++)
        to[i] = load(row[0], is_float, (int)i) * line->weight[0] +
                load(row[1], is_float, (int)i) * line->weight[1] +
                load(row[2], is_float, (int)i) * line->weight[2] +
                load(row[3], is_float, (int)i) * line->weight[3];
}

/* Output pixels of one row out of the mixed row, behind which TL_SIMD_ROOM elements may be read.
 */
static void mix_taps(const float *mixed, const tl_tap4 *taps, int width, int channels, float *to)
{
    int x = 0;
    if (channels == 3 || channels == 4)
        for (; x < width - 1; x++) /* the last store would reach beyond the row */
            _mm_storeu_ps(to + x * channels,
                          weigh_4(_mm_loadu_ps(mixed + taps[x].index[0]),
                                  _mm_loadu_ps(mixed + taps[x].index[1]),
                                  _mm_loadu_ps(mixed + taps[x].index[2]),
                                  _mm_loadu_ps(mixed + taps[x].index[3]), taps[x].weight));
    for (; x < width; x++) {
        const tl_tap4 *tap = &taps[x];
        for (int c = 0; c < channels; c++)
            to[x * channels + c] = mixed[tap->index[0] + c] * tap->weight[0] +
                                   mixed[tap->index[1] + c] * tap->weight[1] +
                                   mixed[tap->index[2] + c] * tap->weight[2] +
                                   mixed[tap->index[3] + c] * tap->weight[3];
    }
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
    TL_TRY(tl_buffer_reserve(&resizer->rows, (in_row + TL_SIMD_ROOM) * sizeof(float),
                             "a resized row", err));
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
        mix_taps(mixed, columns, width, channels, target->data + (size_t)y * target->stride);
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
