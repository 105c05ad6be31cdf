/* The same as swish_f32.h, with the digits that bfloat16 values hold: included behind
 * element_bf16.h as SWISH. */

/* 1 / (1 + exp(-x)) to 13 bits. 2^f on [-1/2, 1/2] is its Taylor polynomial: error 4e-5. */
static inline __attribute__((always_inline)) __m512 NAME(sigmoid)(__m512 x)
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

static inline __attribute__((always_inline)) VEC NAME(swish_of)(VEC x)
{
    return x * (VEC)NAME(sigmoid)((__m512)x);
}

static inline __attribute__((always_inline)) VEC NAME(swish_slope)(VEC x)
{
    VEC s = (VEC)NAME(sigmoid)((__m512)x);
    return s * (x * (1.f - s) + 1.f);
}
