/* A kernel body's numbers in memory are bfloat16, computed with as floats. Included behind
 * vector_body.h, with WIDTH 16 and the instructions of AVX512-BF16. */
static inline __attribute__((always_inline, unused)) VEC NAME(load_bf16)(const tl_bf16 *p)
{
    __m256i halves = _mm256_loadu_si256((const __m256i *)p);
    return (VEC)_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16);
}

static inline __attribute__((always_inline, unused)) void NAME(store_bf16)(tl_bf16 *p, VEC x)
{
    _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)x));
}

#define ELEMENT tl_bf16
#define LOAD(p) NAME(load_bf16)(p)
#define STORE(p, x) NAME(store_bf16)(p, x)
#define GET(p) tl_bf16_value(*(p))
#define PUT(p, x) (*(p) = tl_bf16_round(x))
#define SWISH "kernels/swish_bf16.h"
