/* Body of the swish kernels, included by swish.c behind vector_body.h and the numbers' form in
 * memory. The last values go through the same operations as all others: bits do not depend on
 * their place. */
#include SWISH

static void NAME(forward)(const void *from, void *to, int64_t n)
{
    const ELEMENT *x = from;
    ELEMENT *y = to;
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        STORE(y + i, NAME(swish_of)(LOAD(x + i)));
    if (i < n) {
        ELEMENT last[WIDTH] = {0};
        memcpy(last, x + i, (size_t)(n - i) * sizeof *x);
        STORE(last, NAME(swish_of)(LOAD(last)));
        memcpy(y + i, last, (size_t)(n - i) * sizeof *y);
    }
}

static void NAME(backward)(const void *from, const void *diff, void *to, int64_t n)
{
    const ELEMENT *x = from, *dy = diff;
    ELEMENT *dx = to;
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        STORE(dx + i, LOAD(dy + i) * NAME(swish_slope)(LOAD(x + i)));
    if (i < n) {
        ELEMENT last[WIDTH] = {0}, diffs[WIDTH] = {0};
        memcpy(last, x + i, (size_t)(n - i) * sizeof *x);
        memcpy(diffs, dy + i, (size_t)(n - i) * sizeof *dy);
        STORE(last, LOAD(diffs) * NAME(swish_slope)(LOAD(last)));
        memcpy(dx + i, last, (size_t)(n - i) * sizeof *dx);
    }
}

static const tl_swish_kernels NAME(kernels) = {NAME(forward), NAME(backward)};

#undef ELEMENT
#undef LOAD
#undef STORE
#undef GET
#undef PUT
#undef SWISH
#undef VEC
#undef MASK
#undef WIDTH
#undef NAME
