#include "kernels/pool_bf16.h"

#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,avx512bf16,prefer-vector-width=512")

#define INLINE static inline __attribute__((always_inline))

INLINE __m512 load(const tl_bf16 *p, __mmask16 mask)
{
    __m512i halves = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(halves, 16));
}

INLINE void store(tl_bf16 *p, __mmask16 mask, __m512 x)
{
    _mm256_mask_storeu_epi16(p, mask, (__m256i)_mm512_cvtneps_pbh(x));
}

/* Cells of a window along one axis that are inside the image. */
typedef struct cells {
    int64_t first, end; /* of the window */
    int64_t at;         /* position of its cell 0, which may be outside */
} cells;

INLINE cells cells_of(const tl_windows *w, int axis, int64_t window)
{
    int64_t at = window * w->stride[axis] - w->before[axis], left = w->in[axis] - at;
    return (cells){at < 0 ? -at : 0, left < w->size[axis] ? left : w->size[axis], at};
}

void tl_max_pool_bf16(const tl_windows *w, int width, int64_t apart, const tl_bf16 *x, tl_bf16 *y,
                      uint8_t *top)
{
    const __mmask16 mask = (__mmask16)((1u << width) - 1);
    for (int64_t i = 0; i < w->out[0]; i++)
        for (int64_t j = 0; j < w->out[1]; j++) {
            cells rows = cells_of(w, 0, i), columns = cells_of(w, 1, j);
            __m512 best = _mm512_setzero_ps();
            __m512i chosen = _mm512_setzero_si512();
            __mmask16 larger = mask; /* than what came before: the first cell is */
            for (int64_t r = rows.first; r < rows.end; r++)
                for (int64_t c = columns.first; c < columns.end; c++) {
                    int64_t p = (rows.at + r) * w->in[1] + columns.at + c;
                    __m512 v = load(x + p * apart, mask);
                    if (r > rows.first || c > columns.first)
                        larger = _mm512_cmp_ps_mask(v, best, _CMP_NLE_UQ) &
                                 _mm512_cmp_ps_mask(best, best, _CMP_ORD_Q);
                    best = _mm512_mask_mov_ps(best, larger, v);
                    chosen = _mm512_mask_set1_epi32(chosen, larger, (int)(r * w->size[1] + c));
                }
            int64_t at = (i * w->out[1] + j) * apart;
            store(y + at, mask, best);
            _mm_mask_storeu_epi8(top + at, mask, _mm512_cvtepi32_epi8(chosen));
        }
}

/* Adds to a row of the image what it gets from row r of the windows in row i. */
INLINE void add_windows(const tl_windows *w, __mmask16 mask, int64_t apart, int64_t i, int64_t r,
                        const tl_bf16 *dy, const uint8_t *top, float *row)
{
    cells rows = cells_of(w, 0, i);
    for (int64_t j = 0; j < w->out[1]; j++) {
        cells columns = cells_of(w, 1, j);
        int64_t at = (i * w->out[1] + j) * apart;
        __m512 d = load(dy + at, mask);
        __m512i chosen = _mm512_setzero_si512();
        if (top != NULL) {
            chosen = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, top + at));
        } else {
            int64_t n = (rows.end - rows.first) * (columns.end - columns.first);
            d = _mm512_div_ps(d, _mm512_set1_ps((float)n));
        }
        for (int64_t c = columns.first; c < columns.end; c++) {
            float *to = row + (columns.at + c) * TL_POOL_WIDTH;
            __mmask16 gets = 0xffff;
            if (top != NULL)
                gets =
                    _mm512_cmpeq_epi32_mask(chosen, _mm512_set1_epi32((int)(r * w->size[1] + c)));
            __m512 sum = _mm512_loadu_ps(to);
            _mm512_storeu_ps(to, _mm512_mask_add_ps(sum, gets, sum, d));
        }
    }
}

void tl_pool_backward_bf16(const tl_windows *w, int width, int64_t apart, const tl_bf16 *dy,
                           const uint8_t *top, float *row, tl_bf16 *dx)
{
    const __mmask16 mask = (__mmask16)((1u << width) - 1);
    for (int64_t y = 0; y < w->in[0]; y++) {
        memset(row, 0, (size_t)w->in[1] * TL_POOL_WIDTH * sizeof *row);
        /* windows i whose cell r = y + before - i * stride is one of theirs */
        int64_t reach = y + w->before[0], last = reach / w->stride[0];
        int64_t first = reach < w->size[0] ? 0 : (reach - w->size[0]) / w->stride[0] + 1;
        for (int64_t i = first; i <= last && i < w->out[0]; i++)
            add_windows(w, mask, apart, i, reach - i * w->stride[0], dy, top, row);
        for (int64_t x = 0; x < w->in[1]; x++)
            store(dx + (y * w->in[1] + x) * apart, mask, _mm512_loadu_ps(row + x * TL_POOL_WIDTH));
    }
}

#pragma GCC pop_options
