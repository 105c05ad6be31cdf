/* A vector of WIDTH floats and its helpers, included by a kernel's file once per instruction set
 * with WIDTH and NAME(x) defined. GCC's vector extension: the compiler chooses the instructions.
 */
typedef float NAME(vec) __attribute__((vector_size(WIDTH * 4), aligned(4)));
typedef int NAME(mask) __attribute__((vector_size(WIDTH * 4)));
#define VEC NAME(vec)
#define MASK NAME(mask)

static inline __attribute__((always_inline, unused)) VEC NAME(load)(const float *p)
{
    return *(const VEC *)p;
}

static inline __attribute__((always_inline, unused)) void NAME(store)(float *p, VEC x)
{
    *(VEC *)p = x;
}

/* NaN stays NaN: of two, the instructions return the second. */
static inline __attribute__((always_inline, unused)) VEC NAME(clip)(VEC x, VEC low, VEC high)
{
#if WIDTH == 16
    return (VEC)_mm512_min_ps((__m512)high, _mm512_max_ps((__m512)low, (__m512)x));
#elif WIDTH == 8
    return (VEC)_mm256_min_ps((__m256)high, _mm256_max_ps((__m256)low, (__m256)x));
#else
    return (VEC)_mm_min_ps((__m128)high, _mm_max_ps((__m128)low, (__m128)x));
#endif
}
