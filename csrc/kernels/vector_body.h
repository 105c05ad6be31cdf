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

/* a where first is set, b elsewhere */
static inline __attribute__((always_inline, unused)) VEC NAME(choose)(MASK first, VEC a, VEC b)
{
    return (VEC)(((MASK)a & first) | ((MASK)b & ~first));
}

static inline __attribute__((always_inline, unused)) VEC NAME(clip)(VEC x, VEC low, VEC high)
{
    x = NAME(choose)(x < low, low, x);
    return NAME(choose)(x > high, high, x);
}
