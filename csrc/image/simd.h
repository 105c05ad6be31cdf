/* Four-lane helpers on SSE2, which every x86-64 has, so there is no dispatch and no second path.
 * The float operations are the same as in scalar code, lane by lane, so results do not change a
 * bit. Reading or writing four lanes of a pixel with three channels touches one element too many:
 * callers keep TL_SIMD_ROOM elements behind their rows. */
#ifndef TL_IMAGE_SIMD_H
#define TL_IMAGE_SIMD_H

#include <emmintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TL_SIMD_ROOM 4

static inline __m128i tl_simd_load_4_bytes(const uint8_t *from)
{
    int32_t bits;
    memcpy(&bits, from, sizeof bits);
    return _mm_cvtsi32_si128(bits);
}

/* Four bytes as floats. */
static inline __m128 tl_simd_floats_of_bytes(const uint8_t *from)
{
    __m128i zero = _mm_setzero_si128();
    __m128i words = _mm_unpacklo_epi8(tl_simd_load_4_bytes(from), zero);
    return _mm_cvtepi32_ps(_mm_unpacklo_epi16(words, zero));
}

/* a + (b - a) * mix */
static inline __m128 tl_simd_lerp(__m128 a, __m128 b, __m128 mix)
{
    return _mm_add_ps(a, _mm_mul_ps(_mm_sub_ps(b, a), mix));
}

/* n bytes to floats. */
static inline void tl_simd_widen(const uint8_t *from, float *to, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        _mm_storeu_ps(to + i, tl_simd_floats_of_bytes(from + i));
    for (; i < n; i++)
        to[i] = (float)from[i];
}

#endif
