/* global_avg_pool and global_max_pool: (N, H, W, C) in any layout but NCHW -> (N, C). A channel of
 * an image is read by one thread in one order. */
#include <math.h>
#include <string.h>

#include "kernels/norm.h"
#include "ops/slice.h"

static tl_status infer(const tl_graph *graph, const tl_node *node, tl_value *dst, tl_error *err)
{
    const tl_value *src = &graph->values[node->src[0]];
    char given[128];
    if (src->rank != 4)
        return tl_fail(err, TL_SHAPE, "layer '%s': global pooling needs (N, H, W, C), got %s",
                       node->name, tl_shape_text(src->rank, src->dims, given, sizeof given));
    dst->rank = 2;
    dst->dims[0] = src->dims[0];
    dst->dims[1] = src->dims[3];
    return TL_OK;
}

static void choose(const tl_graph *graph, const tl_node *node, tl_layout spatial, tl_layout *src,
                   tl_layout *dst)
{
    (void)graph, (void)node, (void)spatial;
    if (*src == TL_LAYOUT_NCHW)
        *src = TL_LAYOUT_PLAIN;
    *dst = TL_LAYOUT_PLAIN;
}

/* Slice number i of all images, and where its first channel is in the (N, C) value. */
static tl_slice slice_of(const tl_tensor *x, int64_t i, int64_t *pooled)
{
    int64_t slices = tl_slices_per_image(x), image = i / slices;
    tl_slice s = tl_slice_of(x, image, i % slices);
    *pooled = image * x->dims[3] + s.first;
    return s;
}

static int64_t count_slices(const tl_tensor *x)
{
    return x->dims[0] * tl_slices_per_image(x);
}

/* ---- the mean ---- */

static tl_status average(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    const tl_tensor *src = step->src[0];
    float *dst = step->dst->data;
    int64_t n = count_slices(src);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        int64_t to;
        tl_slice s = slice_of(src, i, &to);
        double sum[TL_NORM_WIDTH] = {0};
        tl_norm(src->dtype)->sums(tl_tensor_at(src, s.at), s.n, s.stride, s.width, sum);
        for (int k = 0; k < s.real; k++)
            dst[to + k] = (float)(sum[k] / (double)s.n);
    }
    return TL_OK;
}

/* Writes one row of values to every position of a slice. */
static void fill(tl_tensor *to, const tl_slice *s, const float *values)
{
    tl_bf16 halves[TL_NORM_WIDTH];
    for (int k = 0; k < s->width; k++)
        halves[k] = tl_bf16_round(values[k]);
    const void *row = to->dtype == TL_BF16 ? (const void *)halves : values;
    size_t bytes = (size_t)s->width * tl_dtype_bytes(to->dtype);
    for (int64_t p = 0; p < s->n; p++)
        memcpy(tl_tensor_at(to, s->at + p * s->stride), row, bytes);
}

/* Every position gets the same share of a mean's gradient. What else is known of the source's
 * gradient is added in the same pass: what other readers wrote, or that of a product. */
static tl_status average_backward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    tl_tensor *out = step->diff_src[0];
    if (out == NULL)
        return TL_OK;
    const tl_step *product = step->product;
    const tl_tensor *dy = product != NULL ? product->dst->diff : step->accumulate[0] ? out : NULL;
    const float *diff = step->dst->diff->data;
    int64_t n = count_slices(out);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        int64_t from;
        tl_slice s = slice_of(out, i, &from);
        tl_norm_map map = {.low = -INFINITY, .high = INFINITY}; /* padding stays zero */
        for (int k = 0; k < s.real; k++) {
            map.scale[k] =
                product != NULL ? tl_tensor_get(product->kept_src[1], s.channel + k) : 1.f;
            map.shift[k] = diff[from + k] / (float)s.n;
        }
        if (dy != NULL)
            tl_norm(out->dtype)
                ->apply(tl_tensor_at(dy, s.at), NULL, tl_tensor_at(out, s.at), s.n, s.stride,
                        s.width, &map);
        else
            fill(out, &s, map.shift);
    }
    return TL_OK;
}

const tl_op tl_op_global_avg_pool = {
    .infer = infer,
    .choose = choose,
    .takes_bf16 = tl_takes_bf16,
    .makes_f32 = true,
    .adds_diff = true,
    .forward = average,
    .backward = average_backward,
};

/* ---- the maximum ---- */

static tl_status top(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    const tl_tensor *src = step->src[0];
    int64_t n = count_slices(src);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        int64_t to;
        tl_slice s = slice_of(src, i, &to);
        const float *from = tl_tensor_at(src, s.at);
        float best[TL_NORM_WIDTH];
        for (int k = 0; k < s.width; k++)
            best[k] = -INFINITY;
        for (int64_t p = 0; p < s.n; p++)
            for (int k = 0; k < s.width; k++) {
                float x = from[p * s.stride + k];
                best[k] = x > best[k] || isnan(x) ? x : best[k]; /* a NaN stays */
            }
        memcpy(tl_tensor_at(step->dst, to), best, (size_t)s.real * sizeof *best);
    }
    return TL_OK;
}

/* Equal maxima share the gradient (TensorFlow's reduce_max). */
static tl_status top_backward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    tl_tensor *out = step->diff_src[0];
    if (out == NULL)
        return TL_OK;
    const float *src = step->kept_src[0]->data, *dst = step->kept_dst->data;
    const float *diff = step->dst->diff->data;
    float *to = out->data;
    int64_t n = count_slices(out);
    memset(to, 0, out->bytes);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        int64_t pooled;
        tl_slice s = slice_of(out, i, &pooled);
        for (int k = 0; k < s.real; k++) {
            float best = dst[pooled + k];
            int64_t equal = 0;
            for (int64_t p = 0; p < s.n; p++)
                equal += src[s.at + p * s.stride + k] == best;
            for (int64_t p = 0; p < s.n; p++)
                if (src[s.at + p * s.stride + k] == best)
                    to[s.at + p * s.stride + k] = diff[pooled + k] / (float)equal;
        }
    }
    return TL_OK;
}

const tl_op tl_op_global_max_pool = {
    .infer = infer,
    .choose = choose,
    .backward_reads_src = true,
    .backward_reads_dst = true,
    .forward = top,
    .backward = top_backward,
};
