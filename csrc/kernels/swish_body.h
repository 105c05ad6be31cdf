/* Body of the swish kernel, included by swish.c behind vector_body.h. */

/* x / (1 + exp(-x)). exp as 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes' expf);
 * beyond 87 it is as good as 0 or infinite. Off by at most some 3e-7 of the value. */
static inline __attribute__((always_inline)) VEC NAME(swish_of)(VEC x)
{
    const VEC limit = (VEC){0} + 87.f, round = (VEC){0} + 12582912.f; /* 1.5 * 2^23 */
    VEC y = NAME(clip)(-x, -limit, limit);
    VEC shifted = y * 1.44269504f + round;
    VEC n = shifted - round;
    VEC r = y - n * .693359375f + n * 2.12194440e-4f;
    VEC p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + (r + 1.f);
    MASK exponent = ((MASK)shifted - (MASK)round) << 23;
    return x / (1.f + (VEC)((MASK)p + exponent));
}

static void NAME(swish)(const float *x, float *y, int64_t n)
{
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        NAME(store)(y + i, NAME(swish_of)(NAME(load)(x + i)));
    if (i < n) { /* the same operations on the last values: bits do not depend on their place */
        VEC last = {0};
        memcpy(&last, x + i, (size_t)(n - i) * sizeof *x);
        last = NAME(swish_of)(last);
        memcpy(y + i, &last, (size_t)(n - i) * sizeof *y);
    }
}

#undef VEC
#undef MASK
#undef WIDTH
#undef NAME
