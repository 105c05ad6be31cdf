/* Body of the depthwise gradient, included by depthwise.c behind vector_body.h and the
 * numbers' form in memory. */

/* The columns x of the destination whose source column x * stride + j - left is inside. */
static inline void NAME(range)(int64_t j, int64_t stride, int64_t left, int64_t w, int64_t out_w,
                               int64_t *first, int64_t *end)
{
    int64_t before = left - j, room = w - 1 + left - j;
    *first = before > 0 ? (before + stride - 1) / stride : 0;
    *end = room < 0 ? 0 : room / stride + 1;
    *end = *end < out_w ? *end : out_w;
}

static void NAME(weights)(const tl_depthwise_shape *s, const void *from, const void *diff,
                          float *sum)
{
    const ELEMENT *src = from, *diff_dst = diff;
    for (int64_t y = 0; y < s->out_h; y++)
        for (int64_t i = 0; i < s->kernel_h; i++) {
            int64_t row = y * s->stride_h + i - s->top;
            if (row < 0 || row >= s->h)
                continue;
            for (int64_t j = 0; j < s->kernel_w; j++) {
                int64_t first, end, step = s->stride_w * s->block;
                NAME(range)(j, s->stride_w, s->left, s->w, s->out_w, &first, &end);
                const ELEMENT *d = diff_dst + y * s->out_w * s->block;
                const ELEMENT *x = src + (row * s->w + j - s->left) * s->block; /* of column 0 */
                float *to = sum + (i * s->kernel_w + j) * s->block;
                for (int64_t k = 0; k < s->block; k += WIDTH) {
                    /* two chains of sums hide the latency of one */
                    VEC even = {0}, odd = {0};
                    int64_t c = first;
                    for (; c + 2 <= end; c += 2) {
                        even += LOAD(d + c * s->block + k) * LOAD(x + c * step + k);
                        odd += LOAD(d + (c + 1) * s->block + k) * LOAD(x + (c + 1) * step + k);
                    }
                    if (c < end)
                        even += LOAD(d + c * s->block + k) * LOAD(x + c * step + k);
                    NAME(store)(to + k, NAME(load)(to + k) + (even + odd));
                }
            }
        }
}

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
