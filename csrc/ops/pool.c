/* max_pool2d and avg_pool2d by oneDNN; global_avg_pool and global_max_pool here. Average pooling
 * divides by the cells inside the image (Keras' 'same'). */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/norm.h"
#include "ops/slice.h"

typedef struct pool_state {
    tl_primitive forward, backward;
    dnnl_memory_desc_t workspace_md; /* owned; NULL without one */
} pool_state;

static tl_status infer(const tl_graph *graph, const tl_node *node, tl_value *dst, tl_error *err)
{
    const tl_value *src = &graph->values[node->src[0]];
    const tl_attrs *a = &node->attrs;
    char given[128];
    if (src->rank != 4)
        return tl_fail(err, TL_SHAPE, "layer '%s': pooling needs (N, H, W, C), got %s", node->name,
                       tl_shape_text(src->rank, src->dims, given, sizeof given));
    dst->rank = 4;
    dst->dims[0] = src->dims[0];
    dst->dims[3] = src->dims[3];
    for (int i = 0; i < 2; i++) {
        int64_t before = a->pads[2 * i], after = a->pads[2 * i + 1];
        int64_t room = src->dims[1 + i] + before + after - a->pool[i];
        if (before < 0 || after < 0 || before >= a->pool[i] || after >= a->pool[i] ||
            a->pool[i] < 1 || a->strides[i] < 1)
            return tl_fail(
                err, TL_SHAPE,
                "layer '%s': pool size %lld with padding %lld and %lld; the padding must "
                "be smaller than the pool",
                node->name, (long long)a->pool[i], (long long)before, (long long)after);
        dst->dims[1 + i] = room < 0 ? 0 : room / a->strides[i] + 1;
    }
    return TL_OK;
}

/* oneDNN 3.2 adds up gradients of windows that overlap in bf16, and loses bits. */
static bool takes_bf16(const tl_graph *graph, const tl_node *node, bool training)
{
    (void)graph;
    const tl_attrs *a = &node->attrs;
    return !training || (a->pool[0] <= a->strides[0] && a->pool[1] <= a->strides[1]);
}

static tl_status create_pd(tl_step *step, dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *pd,
                           tl_error *err)
{
    const tl_attrs *a = &step->node->attrs;
    dnnl_alg_kind_t algorithm =
        step->node->kind == TL_OP_max_pool2d ? dnnl_pooling_max : dnnl_pooling_avg_exclude_padding;
    dnnl_dims_t strides = {a->strides[0], a->strides[1]}, kernel = {a->pool[0], a->pool[1]};
    dnnl_dims_t dilation = {0, 0}, before = {a->pads[0], a->pads[2]},
                after = {a->pads[1], a->pads[3]};
    tl_status status = TL_OK;
    dnnl_primitive_attr_t attr = NULL;
    TL_TRY_GOTO(tl_attr_create(&attr, NULL, err));
    if (hint == NULL)
        TL_DNN_GOTO(
            tl_dnn.pooling_forward_primitive_desc_create(
                pd, tl_dnn.engine, step->training ? dnnl_forward_training : dnnl_forward_inference,
                algorithm, step->src[0]->md, step->dst->md, strides, kernel, dilation, before,
                after, attr),
            step->name);
    else
        TL_DNN_GOTO(tl_dnn.pooling_backward_primitive_desc_create(
                        pd, tl_dnn.engine, algorithm, step->src[0]->md, step->dst->md, strides,
                        kernel, dilation, before, after, hint, attr),
                    step->name);
fail:
    if (attr != NULL)
        tl_dnn.primitive_attr_destroy(attr);
    return status;
}

static tl_status create(tl_build *build, tl_step *step, tl_error *err)
{
    TL_TRY(tl_calloc(&step->state, 1, sizeof(pool_state), "a pooling layer", err));
    pool_state *state = step->state;
    dnnl_primitive_desc_t pd = NULL, backward = NULL;
    tl_status status = TL_OK;
    TL_TRY(create_pd(step, NULL, &pd, err));
    if (step->training && step->diff_src[0] != NULL) {
        TL_TRY_GOTO(create_pd(step, pd, &backward, err));
        TL_TRY_GOTO(tl_primitive_create(&state->backward, backward, build, step->name, err));
    }
    const_dnnl_memory_desc_t md = tl_dnn.primitive_desc_query_md(pd, dnnl_query_workspace_md, 0);
    if (md != NULL && tl_dnn.memory_desc_get_size(md) != 0) {
        TL_DNN_GOTO(tl_dnn.memory_desc_clone(&state->workspace_md, md), step->name);
        step->work_bytes[TL_WORK_KEPT] = tl_dnn.memory_desc_get_size(md);
    }
    status = tl_primitive_create(&state->forward, pd, build, step->name, err);
    pd = NULL;
fail:
    if (pd != NULL)
        tl_dnn.primitive_desc_destroy(pd);
    return status;
}

static tl_status bind(tl_step *step, void *scratchpad, tl_error *err)
{
    pool_state *state = step->state;
    tl_primitive *p = &state->forward;
    TL_TRY(tl_primitive_bind(p, DNNL_ARG_SRC, step->src[0]->md, step->src[0]->data, err));
    TL_TRY(tl_primitive_bind(p, DNNL_ARG_DST, step->dst->md, step->dst->data, err));
    if (state->workspace_md != NULL)
        TL_TRY(tl_primitive_bind(p, DNNL_ARG_WORKSPACE, state->workspace_md,
                                 step->work[TL_WORK_KEPT], err));
    TL_TRY(tl_primitive_bind_scratchpad(p, scratchpad, err));
    if (!step->training || step->diff_src[0] == NULL)
        return TL_OK;
    p = &state->backward;
    TL_TRY(
        tl_primitive_bind(p, DNNL_ARG_DIFF_DST, step->dst->diff->md, step->dst->diff->data, err));
    TL_TRY(tl_primitive_bind(p, DNNL_ARG_DIFF_SRC, step->diff_src[0]->md, step->diff_src[0]->data,
                             err));
    if (state->workspace_md != NULL)
        TL_TRY(tl_primitive_bind(p, DNNL_ARG_WORKSPACE, state->workspace_md,
                                 step->work[TL_WORK_KEPT], err));
    return tl_primitive_bind_scratchpad(p, scratchpad, err);
}

static tl_status forward(tl_step *step, const tl_run *run, tl_error *err)
{
    return tl_primitive_run(&((pool_state *)step->state)->forward, run, step->name, err);
}

static tl_status backward(tl_step *step, const tl_run *run, tl_error *err)
{
    if (step->diff_src[0] == NULL)
        return TL_OK;
    return tl_primitive_run(&((pool_state *)step->state)->backward, run, step->name, err);
}

static void kernels(const tl_step *step, tl_kernels *out)
{
    const pool_state *state = step->state;
    *out = (tl_kernels){state->forward.impl, state->backward.impl, NULL};
}

static void destroy(tl_step *step)
{
    pool_state *state = step->state;
    if (state == NULL)
        return;
    tl_primitive_clear(&state->forward);
    tl_primitive_clear(&state->backward);
    if (state->workspace_md != NULL)
        tl_dnn.memory_desc_destroy(state->workspace_md);
    tl_free(state);
}

#define POOL_OP(kind)                                                                             \
    const tl_op tl_op_##kind = {                                                                  \
        .infer = infer,                                                                           \
        .choose = tl_choose_spatial,                                                              \
        .takes_bf16 = takes_bf16,                                                                 \
        .create = create,                                                                         \
        .bind = bind,                                                                             \
        .forward = forward,                                                                       \
        .backward = backward,                                                                     \
        .kernels = kernels,                                                                       \
        .destroy = destroy,                                                                       \
    };
POOL_OP(max_pool2d)
POOL_OP(avg_pool2d)

/* ---- global pooling: (N, H, W, C) in any layout -> (N, C) ---- */

static tl_status infer_global(const tl_graph *graph, const tl_node *node, tl_value *dst,
                              tl_error *err)
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

/* Address arithmetic: element (position p, channel c) of image n is at
 * n * image + c / block * block_stride + p * position + c % block. */
typedef struct image_walk {
    int64_t image, block, block_stride, position, n_positions;
} image_walk;

static image_walk walk_of(const tl_tensor *t)
{
    int64_t positions = t->dims[1] * t->dims[2], c = t->dims[3];
    if (t->layout == TL_LAYOUT_PLAIN)
        return (image_walk){positions * c, c, 0, c, positions};
    int64_t b = t->block;
    return (image_walk){(c + b - 1) / b * b * positions, b, positions * b, b, positions};
}

static void mean_of(const float *from, const image_walk *w, int width, float *to)
{
    double sum[TL_NORM_WIDTH] = {0};
    tl_norm(TL_F32)->sums(from, w->n_positions, w->position, width, sum);
    for (int k = 0; k < width; k++)
        to[k] = (float)(sum[k] / (double)w->n_positions);
}

static void top_of(const float *from, const image_walk *w, int width, float *to)
{
    float top[TL_NORM_WIDTH];
    for (int k = 0; k < width; k++)
        top[k] = -FLT_MAX;
    for (int64_t p = 0; p < w->n_positions; p++)
        for (int k = 0; k < width; k++)
            top[k] = from[p * w->position + k] > top[k] ? from[p * w->position + k] : top[k];
    memcpy(to, top, (size_t)width * sizeof *top);
}

/* The means of a bf16 value. */
static void average_bf16(const tl_step *step)
{
    const tl_tensor *src = step->src[0];
    int64_t slices = tl_slices_per_image(src), c = src->dims[3];
    float *to = step->dst->data;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < src->dims[0] * slices; i++) {
        tl_slice s = tl_slice_of(src, i / slices, i % slices);
        double sum[TL_NORM_WIDTH] = {0};
        tl_norm(TL_BF16)->sums(tl_tensor_at(src, s.at), s.n, s.stride, s.width, sum);
        for (int64_t k = 0; k < s.width && s.first + k < c; k++)
            to[i / slices * c + s.first + k] = (float)(sum[k] / (double)s.n);
    }
}

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
static void average_backward(const tl_step *step)
{
    tl_tensor *out = step->diff_src[0];
    const tl_step *product = step->product;
    const tl_tensor *dy = product != NULL ? product->dst->diff : step->accumulate[0] ? out : NULL;
    int64_t slices = tl_slices_per_image(out), c = out->dims[3];
    const float *diff = step->dst->diff->data;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < out->dims[0] * slices; i++) {
        tl_slice s = tl_slice_of(out, i / slices, i % slices);
        tl_norm_map map = {.low = -INFINITY, .high = INFINITY}; /* padding stays zero */
        for (int64_t k = 0; k < s.width && s.first + k < c; k++) {
            map.scale[k] =
                product != NULL ? tl_tensor_get(product->kept_src[1], s.channel + k) : 1.f;
            map.shift[k] = diff[i / slices * c + s.first + k] / (float)s.n;
        }
        if (dy != NULL)
            tl_norm(out->dtype)
                ->apply(tl_tensor_at(dy, s.at), tl_tensor_at(out, s.at), s.n, s.stride, s.width,
                        &map);
        else
            fill(out, &s, map.shift);
    }
}

static tl_status global_forward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    const tl_tensor *src = step->src[0];
    if (src->dtype == TL_BF16) {
        average_bf16(step);
        return TL_OK;
    }
    image_walk w = walk_of(src);
    int64_t n = src->dims[0], c = src->dims[3];
    bool is_max = step->node->kind == TL_OP_global_max_pool, plain = src->block == 1;
    int64_t span = plain ? TL_NORM_WIDTH : src->block; /* channels side by side */
    int64_t groups = (c + span - 1) / span;
#pragma omp parallel for schedule(static)
    for (int64_t job = 0; job < n * groups; job++) {
        int64_t i = job / groups, first = job % groups * span, left = c - first;
        const float *from =
            tl_tensor_at(src, i * w.image + (plain ? first : first / span * w.block_stride));
        int width = (int)(left < span ? left : span);
        (is_max ? top_of : mean_of)(from, &w, width, tl_tensor_at(step->dst, i * c + first));
    }
    return TL_OK;
}

/* Equal maxima share the gradient (TensorFlow's reduce_max). */
static void maximum_backward(const tl_step *step)
{
    tl_tensor *out = step->diff_src[0];
    image_walk w = walk_of(out);
    int64_t n = out->dims[0], c = out->dims[3];
    const float *src = step->kept_src[0]->data, *dst = step->kept_dst->data;
    const float *diff = step->dst->diff->data;
    float *to = out->data;
    memset(to, 0, out->bytes);
#pragma omp parallel for collapse(2)
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < c; k++) {
            int64_t base = i * w.image + k / w.block * w.block_stride + k % w.block, shares = 0;
            float top = dst[i * c + k];
            for (int64_t p = 0; p < w.n_positions; p++)
                shares += src[base + p * w.position] == top;
            float share = diff[i * c + k] / (float)shares;
            for (int64_t p = 0; p < w.n_positions; p++)
                if (src[base + p * w.position] == top)
                    to[base + p * w.position] = share;
        }
}

static tl_status global_backward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    if (step->diff_src[0] != NULL)
        (step->node->kind == TL_OP_global_max_pool ? maximum_backward : average_backward)(step);
    return TL_OK;
}

static void choose_global(const tl_graph *graph, const tl_node *node, tl_layout spatial,
                          tl_layout *src, tl_layout *dst)
{
    (void)graph, (void)node, (void)spatial;
    if (*src == TL_LAYOUT_NCHW)
        *src = TL_LAYOUT_PLAIN;
    *dst = TL_LAYOUT_PLAIN;
}

const tl_op tl_op_global_avg_pool = {
    .infer = infer_global,
    .choose = choose_global,
    .takes_bf16 = tl_takes_bf16,
    .makes_f32 = true,
    .adds_diff = true,
    .forward = global_forward,
    .backward = global_backward,
};

const tl_op tl_op_global_max_pool = {
    .infer = infer_global,
    .choose = choose_global,
    .backward_reads_src = true,
    .backward_reads_dst = true,
    .forward = global_forward,
    .backward = global_backward,
};
