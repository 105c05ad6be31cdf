/* Pillow's resampling for 8-bit images: separable filters whose support grows with the reduction
 * (so it antialiases), weights in 22-bit fixed point, each of the two passes rounded to 8 bits.
 * The weights are computed in double precision in Pillow's order, so they are the same integers.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "image/resample.h"
#include "image/simd.h"

#define PRECISION_BITS 22

static double filter_box(double x)
{
    return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
}

static double filter_bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double filter_hamming(double x)
{
    x = fabs(x);
    if (x == 0.0)
        return 1.0;
    if (x >= 1.0)
        return 0.0;
    x *= M_PI; /* the constants below are floats in Pillow */
    return sin(x) / x * (0.54f + 0.46f * cos(x));
}

static double filter_bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static double sinc(double x)
{
    if (x == 0.0)
        return 1.0;
    x *= M_PI;
    return sin(x) / x;
}

static double filter_lanczos(double x)
{
    return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
}

static const struct {
    double (*weight)(double);
    double support;
} filters[TL_INTERPOLATION_COUNT] = {
    [TL_INTERPOLATION_BOX] = {filter_box, 0.5},
    [TL_INTERPOLATION_BILINEAR] = {filter_bilinear, 1.0},
    [TL_INTERPOLATION_HAMMING] = {filter_hamming, 1.0},
    [TL_INTERPOLATION_BICUBIC] = {filter_bicubic, 2.0},
    [TL_INTERPOLATION_LANCZOS] = {filter_lanczos, 3.0},
};

/* Two neighbouring weights, each w = high * 2**15 + low, as SSE2's multiply-add of 16-bit words
 * wants them. Sums of 32 bits may wrap on the way; the final ones fit, so they are right. */
typedef struct tl_pair {
    int32_t low, high; /* first weight's part in the lower half */
} tl_pair;

/* One axis: output i is the sum over k < count[i] of weight[i * taps + k] * source[first[i] + k].
 */
typedef struct tl_axis {
    int out, taps;      /* taps is even */
    int *first, *count; /* (out), inside the table's buffer */
    int32_t *weight;    /* (out, taps), zero beyond count */
    tl_pair *pair;      /* (out, taps / 2): the same for SSE2 */
} tl_axis;

static int32_t pack_words(int32_t first, int32_t second)
{
    return (int32_t)((uint32_t)(uint16_t)first | (uint32_t)(uint16_t)second << 16);
}

static void fill_line(tl_axis *axis, int i, tl_interpolation filter, double center, double scale,
                      int in, double *exact)
{
    double support = filters[filter].support * scale, inverse = 1.0 / scale, sum = 0.0;
    int first = (int)(center - support + 0.5);
    int end = (int)(center + support + 0.5);
    first = first < 0 ? 0 : first;
    end = end > in ? in : end;
    int count = end - first;
    for (int k = 0; k < count; k++) {
        exact[k] = filters[filter].weight((k + first - center + 0.5) * inverse);
        sum += exact[k];
    }
    int32_t *weight = axis->weight + (size_t)i * (size_t)axis->taps;
    for (int k = 0; k < count; k++) {
        double w = sum != 0.0 ? exact[k] / sum : exact[k];
        w *= 1 << PRECISION_BITS;
        weight[k] = (int32_t)(w < 0 ? w - 0.5 : w + 0.5);
    }
    memset(weight + count, 0, (size_t)(axis->taps - count) * sizeof *weight);
    tl_pair *pair = axis->pair + (size_t)i * (size_t)axis->taps / 2;
    for (int k = 0; k < axis->taps; k += 2)
        pair[k / 2] = (tl_pair){pack_words(weight[k] & 0x7fff, weight[k + 1] & 0x7fff),
                                pack_words(weight[k] >> 15, weight[k + 1] >> 15)};
    axis->first[i] = first;
    axis->count[i] = count;
}

/* `in` source pixels, of which [start, start + span) are spread over `out`. */
static tl_status fill_axis(tl_axis *axis, tl_buffer *table, tl_interpolation filter, int in,
                           int start, int span, int out, tl_error *err)
{
    double step = (double)span / out, scale = step < 1.0 ? 1.0 : step;
    int taps = (int)ceil(filters[filter].support * scale) * 2 + 2;
    size_t lines = (size_t)out * sizeof(int), weights, bytes;
    if (!tl_mul((size_t)out * (sizeof(int32_t) + sizeof(tl_pair) / 2), (size_t)taps, &weights) ||
        !tl_add(weights, 2 * lines + (size_t)taps * sizeof(double), &bytes))
        return tl_fail(err, TL_NOMEM, "resizing %d to %d pixels does not fit in memory", in, out);
    TL_TRY(tl_buffer_reserve(table, bytes, "a resize table", err));
    double *exact = table->data; /* first, for its alignment */
    axis->first = (int *)(exact + taps);
    axis->count = axis->first + out;
    axis->weight = axis->count + out;
    axis->pair = (tl_pair *)(axis->weight + (size_t)out * (size_t)taps);
    axis->out = out;
    axis->taps = taps;
    for (int i = 0; i < out; i++)
        fill_line(axis, i, filter, start + (i + 0.5) * step, scale, in, exact);
    return TL_OK;
}

static uint8_t round_8(int32_t sum)
{
    int32_t value = sum >> PRECISION_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void filter_columns(const tl_axis *axis, const uint8_t *row, int channels, uint8_t *to)
{
    for (int x = 0; x < axis->out; x++) {
        const int32_t *weight = axis->weight + (size_t)x * (size_t)axis->taps;
        const uint8_t *from = row + (size_t)axis->first[x] * (size_t)channels;
        int count = axis->count[x];
        int32_t sum[TL_MAX_CHANNELS];
        for (int c = 0; c < channels; c++)
            sum[c] = 1 << (PRECISION_BITS - 1);
        for (int k = 0; k < count; k++, from += channels)
            for (int c = 0; c < channels; c++)
                sum[c] += from[c] * weight[k];
        for (int c = 0; c < channels; c++)
            *to++ = round_8(sum[c]);
    }
}

/* Sums of low and high parts as rounded bytes in the lower four lanes. */
static __m128i round_4(__m128i low, __m128i high)
{
    __m128i sum = _mm_add_epi32(low, _mm_slli_epi32(high, 15));
    return _mm_srai_epi32(sum, PRECISION_BITS);
}

static void store_4_bytes(uint8_t *to, __m128i values)
{
    __m128i words = _mm_packs_epi32(values, values);
    int32_t bits = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    memcpy(to, &bits, sizeof bits);
}

/* The same for 3 or 4 channels, two taps at a time; reads one byte beyond the row, writes one. */
static void filter_colours(const tl_axis *axis, const uint8_t *row, int channels, uint8_t *to)
{
    const __m128i zero = _mm_setzero_si128();
    for (int x = 0; x < axis->out; x++, to += channels) {
        const tl_pair *pair = axis->pair + (size_t)x * (size_t)axis->taps / 2;
        const uint8_t *from = row + (size_t)axis->first[x] * (size_t)channels;
        __m128i low = _mm_set1_epi32(1 << (PRECISION_BITS - 1)), high = zero;
        for (int k = 0; k < axis->count[x]; k += 2, pair++, from += 2 * channels) {
            __m128i a = tl_simd_load_4_bytes(from);
            __m128i b = k + 1 < axis->count[x] ? tl_simd_load_4_bytes(from + channels) : zero;
            __m128i both = _mm_unpacklo_epi8(_mm_unpacklo_epi8(a, b), zero);
            low = _mm_add_epi32(low, _mm_madd_epi16(both, _mm_set1_epi32(pair->low)));
            high = _mm_add_epi32(high, _mm_madd_epi16(both, _mm_set1_epi32(pair->high)));
        }
        store_4_bytes(to, round_4(low, high));
    }
}

/* Rows [from, from + n) of src, each resized to axis->out pixels, without gaps; TL_SIMD_ROOM bytes
 * behind the last may be written. `spare` has room for a source row. */
static void filter_rows(const tl_axis *axis, const tl_pixels *src, int from, int n, uint8_t *spare,
                        uint8_t *to)
{
    size_t stride = (size_t)axis->out * (size_t)src->channels;
    for (int y = from; y < from + n; y++, to += stride) {
        const uint8_t *row = (const uint8_t *)src->data + (size_t)y * src->stride;
        if (src->channels != 3 && src->channels != 4) {
            filter_columns(axis, row, src->channels, to);
            continue;
        }
        if (y == src->height - 1) { /* what lies behind the last row is not ours to read */
            size_t n_bytes = (size_t)src->width * (size_t)src->channels;
            row = memcpy(spare, row, n_bytes);
            spare[n_bytes] = 0; /* read and dropped; valgrind takes its neighbours along */
        }
        filter_colours(axis, row, src->channels, to);
    }
}

/* 16 bytes of output row i, from column j on. */
static void filter_block(const tl_axis *axis, int i, const uint8_t *row, size_t stride,
                         uint8_t *to)
{
    const __m128i zero = _mm_setzero_si128();
    const tl_pair *pair = axis->pair + (size_t)i * (size_t)axis->taps / 2;
    __m128i low[4], high[4];
    for (int v = 0; v < 4; v++) {
        low[v] = _mm_set1_epi32(1 << (PRECISION_BITS - 1));
        high[v] = zero;
    }
    for (int k = 0; k < axis->count[i]; k += 2, pair++, row += 2 * stride) {
        __m128i a = _mm_loadu_si128((const __m128i *)row);
        __m128i b = zero;
        if (k + 1 < axis->count[i])
            b = _mm_loadu_si128((const __m128i *)(row + stride));
        __m128i left = _mm_unpacklo_epi8(a, b), right = _mm_unpackhi_epi8(a, b);
        __m128i both[4] = {_mm_unpacklo_epi8(left, zero), _mm_unpackhi_epi8(left, zero),
                           _mm_unpacklo_epi8(right, zero), _mm_unpackhi_epi8(right, zero)};
        __m128i pair_low = _mm_set1_epi32(pair->low), pair_high = _mm_set1_epi32(pair->high);
        for (int v = 0; v < 4; v++) {
            low[v] = _mm_add_epi32(low[v], _mm_madd_epi16(both[v], pair_low));
            high[v] = _mm_add_epi32(high[v], _mm_madd_epi16(both[v], pair_high));
        }
    }
    __m128i words_left = _mm_packs_epi32(round_4(low[0], high[0]), round_4(low[1], high[1]));
    __m128i words_right = _mm_packs_epi32(round_4(low[2], high[2]), round_4(low[3], high[3]));
    _mm_storeu_si128((__m128i *)to, _mm_packus_epi16(words_left, words_right));
}

/* Output row i out of rows of `n` bytes, `stride` apart; `offset` is the source row at rows[0]. */
static void filter_line(const tl_axis *axis, int i, const uint8_t *rows, size_t stride, int offset,
                        size_t n, uint8_t *to)
{
    const int32_t *weight = axis->weight + (size_t)i * (size_t)axis->taps;
    const uint8_t *row = rows + (size_t)(axis->first[i] - offset) * stride;
    size_t j = 0;
    for (; j + 16 <= n; j += 16)
        filter_block(axis, i, row + j, stride, to + j);
    for (; j < n; j++) {
        int32_t sum = 1 << (PRECISION_BITS - 1);
        for (int k = 0; k < axis->count[i]; k++)
            sum += row[(size_t)k * stride + j] * weight[k];
        to[j] = round_8(sum);
    }
}

static unsigned multiply_255(unsigned a, unsigned b)
{
    unsigned t = a * b + 128u;
    return ((t >> 8) + t) >> 8;
}

/* Pillow resizes RGBA with the colours multiplied by alpha, so that hidden colours do not bleed.
 */
static tl_status premultiply(tl_resizer *resizer, tl_pixels *src, tl_error *err)
{
    size_t row = (size_t)src->width * 4, bytes;
    if (!tl_mul(row, (size_t)src->height, &bytes))
        return tl_fail(err, TL_NOMEM, "%d x %d pixels do not fit in memory", src->width,
                       src->height);
    TL_TRY(tl_buffer_reserve(&resizer->premultiplied, bytes, "an image with alpha", err));
    uint8_t *to = resizer->premultiplied.data;
    for (int y = 0; y < src->height; y++) {
        const uint8_t *from = (const uint8_t *)src->data + (size_t)y * src->stride;
        for (int x = 0; x < src->width; x++, from += 4, to += 4) {
            for (int c = 0; c < 3; c++)
                to[c] = (uint8_t)multiply_255(from[c], from[3]);
            to[3] = from[3];
        }
    }
    src->data = resizer->premultiplied.data;
    src->stride = row;
    return TL_OK;
}

static uint8_t unpremultiplied(uint8_t colour, uint8_t alpha)
{
    if (alpha == 0 || alpha == 255)
        return colour;
    int value = 255 * colour / alpha;
    return (uint8_t)(value > 255 ? 255 : value);
}

static void store_row(const uint8_t *row, bool alpha, size_t n, float *to)
{
    if (!alpha)
        tl_simd_widen(row, to, n);
    else
        for (size_t j = 0; j < n; j++)
            to[j] = (float)(j % 4 == 3 ? row[j] : unpremultiplied(row[j], row[j | 3]));
}

/* The passes of one image; an axis without taps is left out. */
typedef struct tl_passes {
    tl_axis x, y;
    bool alpha;
    const tl_target *target;
    size_t out_row; /* bytes */
} tl_passes;

static tl_status reserve_rows(tl_resizer *resizer, size_t row, int n, tl_error *err)
{
    size_t bytes;
    if (!tl_mul(row, (size_t)n, &bytes) || !tl_add(bytes, TL_SIMD_ROOM, &bytes))
        return tl_fail(err, TL_NOMEM, "%d rows of %zu bytes do not fit in memory", n, row);
    return tl_buffer_reserve(&resizer->rows, bytes, "resized rows", err);
}

/* Every row the second pass needs is resized horizontally; then vertically, if at all. */
static tl_status run_across_first(tl_resizer *resizer, const tl_pixels *src,
                                  const tl_passes *passes, tl_error *err)
{
    const tl_axis *x = &passes->x, *y = &passes->y;
    const tl_target *target = passes->target;
    const uint8_t *rows = src->data;
    size_t stride = src->stride, n = passes->out_row;
    int first = 0; /* source row at rows[0] */
    if (x->taps > 0) {
        int last = target->height - 1, count = src->height;
        if (y->taps > 0) {
            first = y->first[0];
            count = y->first[last] + y->count[last] - first;
        }
        TL_TRY(reserve_rows(resizer, n, count, err));
        filter_rows(x, src, first, count, resizer->line.data, resizer->rows.data);
        rows = resizer->rows.data;
        stride = n;
    }
    uint8_t *line = resizer->line.data;
    for (int i = 0; i < target->height; i++) {
        const uint8_t *row = rows + (size_t)i * stride;
        if (y->taps > 0) {
            filter_line(y, i, rows, stride, first, n, line);
            row = line;
        }
        store_row(row, passes->alpha, n, target->data + (size_t)i * target->stride);
    }
    return TL_OK;
}

/* One output row after the other: vertically at the source's width, then horizontally. */
static void run_down_first(tl_resizer *resizer, const tl_pixels *src, const tl_passes *passes)
{
    const tl_target *target = passes->target;
    size_t in_row = (size_t)src->width * (size_t)src->channels;
    uint8_t *mixed = resizer->line.data, *out = resizer->rows.data;
    tl_pixels line = *src;
    line.data = mixed;
    line.height = 2; /* row 0 is not the last: `mixed` has room behind it */
    for (int i = 0; i < target->height; i++) {
        filter_line(&passes->y, i, src->data, src->stride, 0, in_row, mixed);
        if (passes->x.taps > 0)
            filter_rows(&passes->x, &line, 0, 1, NULL, out);
        store_row(passes->x.taps > 0 ? out : mixed, passes->alpha, passes->out_row,
                  target->data + (size_t)i * target->stride);
    }
}

tl_status tl_resample_pil(tl_resizer *resizer, const tl_pixels *src, const tl_box *box,
                          tl_interpolation filter, const tl_target *target, tl_error *err)
{
    /* Pillow leaves a pass out when it would change nothing */
    bool across = target->width != box->width || box->x != 0 || box->width != src->width;
    bool down = target->height != box->height || box->y != 0 || box->height != src->height;
    /* and since version 13 begins with the vertical one when that shrinks the image more */
    int64_t shrink_y = (int64_t)src->height - target->height;
    int64_t shrink_x = (int64_t)src->width - target->width;
    bool down_first = down && shrink_y > 0 && shrink_y > 2 * shrink_x;

    tl_passes passes = {.alpha = src->channels == 4 && (across || down),
                        .target = target,
                        .out_row = (size_t)target->width * (size_t)src->channels};
    tl_pixels from = *src;
    if (passes.alpha)
        TL_TRY(premultiply(resizer, &from, err));
    if (across)
        TL_TRY(fill_axis(&passes.x, &resizer->x_table, filter, src->width, box->x, box->width,
                         target->width, err));
    if (down)
        TL_TRY(fill_axis(&passes.y, &resizer->y_table, filter, src->height, box->y, box->height,
                         target->height, err));
    size_t in_row = (size_t)src->width * (size_t)src->channels;
    size_t longer = in_row > passes.out_row ? in_row : passes.out_row;
    TL_TRY(tl_buffer_reserve(&resizer->line, longer + TL_SIMD_ROOM, "a row of an image", err));
    if (!down_first)
        return run_across_first(resizer, &from, &passes, err);
    TL_TRY(reserve_rows(resizer, passes.out_row, 1, err));
    run_down_first(resizer, &from, &passes);
    return TL_OK;
}

/* Pillow adds the step up in double precision instead of multiplying; at exact ties that matters.
 */
void tl_nearest_pil(int *index, int out, int in, int first, int count)
{
    double step = (double)count / out, at = first + step * 0.5;
    for (int i = 0; i < out; i++, at += step) {
        int nearest = (int)at;
        index[i] = nearest < in - 1 ? nearest : in - 1;
    }
}
