/* swish(x) = x / (1 + exp(-x)) of a vector and its slope, for a kernel's body: included behind
 * element_f32.h as SWISH. */

/* exp(-x), as 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2], the best of its degree: off by 1e-7
 * of the value. Beyond 87 it is as good as 0 or infinite. */
static inline __attribute__((always_inline, unused)) VEC NAME(exp_minus)(VEC x)
{
    const VEC limit = (VEC){0} + 87.f, round = (VEC){0} + 12582912.f; /* 1.5 * 2^23 */
    VEC y = NAME(clip)(-x, -limit, limit);
    VEC shifted = y * 1.44269504f + round;
    VEC n = shifted - round;
    VEC r = y - n * .693359375f + n * 2.12194440e-4f;
    VEC p = r * 8.3125202230e-3f + 4.1890156938e-2f;
    p = p * r + 1.6667114650e-1f;
    p = p * r + 4.9999231494e-1f;
    p = p * r + 1.f;
    p = p * r + 1.f;
    MASK exponent = ((MASK)shifted - (MASK)round) << 23;
    return (VEC)((MASK)p + exponent);
}

/* Off by at most some 3e-7 of the value. */
static inline __attribute__((always_inline, unused)) VEC NAME(swish_of)(VEC x)
{
    return x / (1.f + NAME(exp_minus)(x));
}

/* s (1 + x (1 - s)) with s = 1 / (1 + e); 1 - s is made as e s, which loses no digits. */
static inline __attribute__((always_inline, unused)) VEC NAME(swish_slope)(VEC x)
{
    VEC e = NAME(exp_minus)(x);
    VEC s = 1.f / (1.f + e);
    return s * (x * (e * s) + 1.f);
}
