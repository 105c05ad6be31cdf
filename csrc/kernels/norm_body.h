/* Body of the batch norm kernels, included by norm.c behind vector_body.h and the numbers' form in
 * memory, element_f32.h or element_bf16.h. Sums are kept in float
 * for CHUNK positions, then added in double: one order always. A width that is no multiple of
 * WIDTH ends in single channels. */

#include SWISH

/* One vector (v = WIDTH) or one channel (v = 1) of a group: the code of both in one place. */
#define GROUPS(width) for (int k = 0; k + WIDTH <= (width); k += WIDTH)
#define SINGLES(width) for (int k = (width) / WIDTH * WIDTH; k < (width); k++)

static inline __attribute__((always_inline)) void NAME(add_double)(double *to, VEC x)
{
    for (int i = 0; i < WIDTH; i++)
        to[i] += x[i];
}

static void NAME(moments)(const void *from, int64_t n, int64_t stride, int width,
                          const float *origin, double *sum, double *squares)
{
    const ELEMENT *x = from;
    for (int64_t p0 = 0; p0 < n; p0 += CHUNK) {
        int64_t p1 = n - p0 < CHUNK ? n : p0 + CHUNK;
        GROUPS(width)
        {
            VEC o = NAME(load)(origin + k), s = {0}, q = {0};
            for (int64_t p = p0; p < p1; p++) {
                VEC d = LOAD(x + p * stride + k) - o;
                s += d;
                q += d * d;
            }
            NAME(add_double)(sum + k, s);
            NAME(add_double)(squares + k, q);
        }
        SINGLES(width)
        {
            float s = 0, q = 0;
            for (int64_t p = p0; p < p1; p++) {
                float d = GET(x + p * stride + k) - origin[k];
                s += d;
                q += d * d;
            }
            sum[k] += s;
            squares[k] += q;
        }
    }
}

static void NAME(sums)(const void *from, int64_t n, int64_t stride, int width, double *sum)
{
    const ELEMENT *x = from;
    for (int64_t p0 = 0; p0 < n; p0 += CHUNK) {
        int64_t p1 = n - p0 < CHUNK ? n : p0 + CHUNK;
        GROUPS(width)
        {
            VEC s = {0};
            for (int64_t p = p0; p < p1; p++)
                s += LOAD(x + p * stride + k);
            NAME(add_double)(sum + k, s);
        }
        SINGLES(width)
        {
            float s = 0;
            for (int64_t p = p0; p < p1; p++)
                s += GET(x + p * stride + k);
            sum[k] += s;
        }
    }
}

/* A loop is compiled three times: for a map without swish, with it, and with a residual, whose
 * pointers are NULL otherwise. */
#define EACH static inline __attribute__((always_inline))

EACH VEC NAME(activate)(VEC z, VEC low, VEC high, bool swish)
{
    return swish ? NAME(swish_of)(z) : NAME(clip)(z, low, high);
}

EACH float NAME(activate_one)(float z, const tl_norm_map *map, bool swish)
{
    if (swish)
        return NAME(swish_of)((VEC){0} + z)[0];
    return z < map->low ? map->low : z > map->high ? map->high : z;
}

EACH void NAME(apply_loop)(const void *from, const void *residual, void *to, int64_t n,
                           int64_t stride, int width, const tl_norm_map *map, bool swish)
{
    const ELEMENT *x = from, *r = residual;
    ELEMENT *y = to;
    VEC low = (VEC){0} + map->low, high = (VEC){0} + map->high;
    GROUPS(width)
    {
        VEC a = NAME(load)(map->scale + k), b = NAME(load)(map->shift + k);
        for (int64_t p = 0; p < n; p++) {
            VEC z = LOAD(x + p * stride + k) * a + b;
            if (r != NULL)
                z += LOAD(r + p * stride + k);
            STORE(y + p * stride + k, NAME(activate)(z, low, high, swish));
        }
    }
    SINGLES(width)
    for (int64_t p = 0; p < n; p++) {
        float z = GET(x + p * stride + k) * map->scale[k] + map->shift[k];
        if (r != NULL)
            z += GET(r + p * stride + k);
        PUT(y + p * stride + k, NAME(activate_one)(z, map, swish));
    }
}

static void NAME(apply)(const void *x, const void *r, void *y, int64_t n, int64_t stride,
                        int width, const tl_norm_map *map)
{
    if (r != NULL)
        NAME(apply_loop)(x, r, y, n, stride, width, map, false);
    else if (map->swish)
        NAME(apply_loop)(x, NULL, y, n, stride, width, map, true);
    else
        NAME(apply_loop)(x, NULL, y, n, stride, width, map, false);
}

static void NAME(map_rows)(const void *from, void *to, int64_t rows, int64_t x_stride,
                           int64_t y_stride, int64_t width, const float *scale, const float *shift,
                           float low, float high)
{
    const ELEMENT *x = from;
    ELEMENT *y = to;
    VEC lows = (VEC){0} + low, highs = (VEC){0} + high;
    for (int64_t r = 0; r < rows; r++, x += x_stride, y += y_stride) {
        int64_t k = 0;
        for (; k + WIDTH <= width; k += WIDTH) {
            VEC z = LOAD(x + k) * NAME(load)(scale + k) + NAME(load)(shift + k);
            STORE(y + k, NAME(clip)(z, lows, highs));
        }
        for (; k < width; k++) {
            float z = GET(x + k) * scale[k] + shift[k];
            PUT(y + k, z < low ? low : z > high ? high : z);
        }
    }
}

/* The gradient of z, which the map clips: dy where it let z through (strictly inside its limits),
 * else 0, or what swish makes of it. With a residual, z is known by its clipped value. */
EACH VEC NAME(through)(VEC dy, VEC z, VEC low, VEC high, bool swish)
{
    return swish ? dy * NAME(swish_slope)(z) : (VEC)((MASK)dy & (z > low) & (z < high));
}

EACH float NAME(through_one)(float dy, float z, const tl_norm_map *map, bool swish)
{
    if (swish)
        return dy * NAME(swish_slope)((VEC){0} + z)[0];
    return z > map->low && z < map->high ? dy : 0.f;
}

EACH void NAME(gradients_loop)(const void *from, const void *diff, const void *clipped, int64_t n,
                               int64_t stride, int width, const float *origin,
                               const tl_norm_map *map, double *sum, double *product, bool swish)
{
    const ELEMENT *x = from, *dy = diff, *y = clipped;
    VEC low = (VEC){0} + map->low, high = (VEC){0} + map->high;
    for (int64_t p0 = 0; p0 < n; p0 += CHUNK) {
        int64_t p1 = n - p0 < CHUNK ? n : p0 + CHUNK;
        GROUPS(width)
        {
            VEC o = NAME(load)(origin + k), a = NAME(load)(map->scale + k);
            VEC b = NAME(load)(map->shift + k), s = {0}, q = {0};
            for (int64_t p = p0; p < p1; p++) {
                VEC v = LOAD(x + p * stride + k);
                VEC z = y != NULL ? LOAD(y + p * stride + k) : v * a + b;
                VEC d = NAME(through)(LOAD(dy + p * stride + k), z, low, high, swish);
                s += d;
                q += d * (v - o);
            }
            NAME(add_double)(sum + k, s);
            NAME(add_double)(product + k, q);
        }
        SINGLES(width)
        {
            float s = 0, q = 0;
            for (int64_t p = p0; p < p1; p++) {
                float v = GET(x + p * stride + k);
                float z = y != NULL ? GET(y + p * stride + k) : v * map->scale[k] + map->shift[k];
                float d = NAME(through_one)(GET(dy + p * stride + k), z, map, swish);
                s += d;
                q += d * (v - origin[k]);
            }
            sum[k] += s;
            product[k] += q;
        }
    }
}

static void NAME(gradients)(const void *x, const void *dy, const void *y, int64_t n,
                            int64_t stride, int width, const float *origin, const tl_norm_map *map,
                            double *sum, double *product)
{
    if (y != NULL)
        NAME(gradients_loop)(x, dy, y, n, stride, width, origin, map, sum, product, false);
    else if (map->swish)
        NAME(gradients_loop)(x, dy, NULL, n, stride, width, origin, map, sum, product, true);
    else
        NAME(gradients_loop)(x, dy, NULL, n, stride, width, origin, map, sum, product, false);
}

EACH void NAME(pull_back_loop)(const void *from, const void *diff, const void *clipped, void *to,
                               void *to_residual, int64_t n, int64_t stride, int width,
                               const float *a, const float *b, const float *c,
                               const tl_norm_map *map, bool swish)
{
    const ELEMENT *x = from, *dy = diff, *y = clipped;
    ELEMENT *dx = to, *dr = to_residual;
    VEC low = (VEC){0} + map->low, high = (VEC){0} + map->high;
    GROUPS(width)
    {
        VEC va = NAME(load)(a + k), vb = NAME(load)(b + k), vc = NAME(load)(c + k);
        VEC scale = NAME(load)(map->scale + k), shift = NAME(load)(map->shift + k);
        for (int64_t p = 0; p < n; p++) {
            VEC v = LOAD(x + p * stride + k);
            VEC z = y != NULL ? LOAD(y + p * stride + k) : v * scale + shift;
            VEC dz = NAME(through)(LOAD(dy + p * stride + k), z, low, high, swish);
            if (dr == NULL || dx != NULL)
                STORE(dx + p * stride + k, va * dz + vb * v + vc);
            if (dr != NULL)
                STORE(dr + p * stride + k, dz);
        }
    }
    SINGLES(width)
    for (int64_t p = 0; p < n; p++) {
        float v = GET(x + p * stride + k);
        float z = y != NULL ? GET(y + p * stride + k) : v * map->scale[k] + map->shift[k];
        float dz = NAME(through_one)(GET(dy + p * stride + k), z, map, swish);
        if (dr == NULL || dx != NULL)
            PUT(dx + p * stride + k, a[k] * dz + b[k] * v + c[k]);
        if (dr != NULL)
            PUT(dr + p * stride + k, dz);
    }
}

static void NAME(pull_back)(const void *x, const void *dy, const void *y, void *dx, void *dr,
                            int64_t n, int64_t stride, int width, const float *a, const float *b,
                            const float *c, const tl_norm_map *map)
{
    if (y != NULL)
        NAME(pull_back_loop)(x, dy, y, dx, dr, n, stride, width, a, b, c, map, false);
    else if (map->swish)
        NAME(pull_back_loop)(x, dy, NULL, dx, NULL, n, stride, width, a, b, c, map, true);
    else
        NAME(pull_back_loop)(x, dy, NULL, dx, NULL, n, stride, width, a, b, c, map, false);
}

static void NAME(add)(void *to, const void *first, const void *other, int64_t n)
{
    const ELEMENT *a = first, *b = other;
    ELEMENT *sum = to;
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        STORE(sum + i, LOAD(a + i) + LOAD(b + i));
    for (; i < n; i++)
        PUT(sum + i, GET(a + i) + GET(b + i));
}

static const tl_norm_kernels NAME(kernels) = {NAME(moments),  NAME(sums),      NAME(apply),
                                              NAME(map_rows), NAME(gradients), NAME(pull_back),
                                              NAME(add)};

#undef EACH
#undef GROUPS
#undef SINGLES
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
