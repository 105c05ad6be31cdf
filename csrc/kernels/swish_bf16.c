#include "kernels/swish_bf16.h"

#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,avx512bf16,prefer-vector-width=512")

#define INLINE static inline __attribute__((always_inline))

/* The last vector of n values is read and written in part. */
INLINE __mmask16 mask_of(int64_t n)
{
    return n >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1);
}

INLINE __m512 load(const tl_bf16 *p, __mmask16 mask)
{
    __m512i halves = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(halves, 16));
}

INLINE void store(tl_bf16 *p, __mmask16 mask, __m512 x)
{
    _mm256_mask_storeu_epi16(p, mask, (__m256i)_mm512_cvtneps_pbh(x));
}

/* 1 / (1 + exp(-x)) to 13 bits. 2^f on [-1/2, 1/2] is its Taylor polynomial: error 4e-5. */
INLINE __m512 sigmoid(__m512 x)
{
    const __m512 log2e = _mm512_set1_ps(-1.44269504f), limit = _mm512_set1_ps(120.f);
    __m512 t = _mm512_mul_ps(x, log2e);
    /* the operands' order keeps NaN: of two, these return the second */
    t = _mm512_min_ps(limit, _mm512_max_ps(_mm512_set1_ps(-120.f), t));
    __m512 whole = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 f = _mm512_sub_ps(t, whole);
    __m512 p = _mm512_set1_ps(9.6181291e-3f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5504109e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022651e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.f));
    __m512 e = _mm512_scalef_ps(p, whole);
    return _mm512_rcp14_ps(_mm512_add_ps(_mm512_set1_ps(1.f), e));
}

void tl_swish_bf16(const tl_bf16 *x, tl_bf16 *y, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_of(n - i);
        __m512 v = load(x + i, mask);
        store(y + i, mask, _mm512_mul_ps(v, sigmoid(v)));
    }
}

void tl_swish_backward_bf16(const tl_bf16 *x, const tl_bf16 *dy, tl_bf16 *dx, int64_t n)
{
    const __m512 one = _mm512_set1_ps(1.f);
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_of(n - i);
        __m512 v = load(x + i, mask), s = sigmoid(v);
        __m512 slope = _mm512_mul_ps(s, _mm512_fmadd_ps(v, _mm512_sub_ps(one, s), one));
        store(dx + i, mask, _mm512_mul_ps(load(dy + i, mask), slope));
    }
}

#pragma GCC pop_options
