/* activation: oneDNN's eltwise in any layout. Here: softmax over the last axis (rows are short),
 * and swish: EfficientNets would spend a third of a prediction in oneDNN's. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/swish.h"
#include "ops/step.h"

#define BLOCK ((int64_t)1 << 12) /* values a thread takes at a time */

typedef struct activation_state {
    tl_primitive forward, backward;
} activation_state;

static tl_status infer(const tl_graph *graph, const tl_node *node, tl_value *dst, tl_error *err)
{
    (void)err;
    int producer = dst->producer;
    *dst = graph->values[node->src[0]];
    dst->producer = producer;
    return TL_OK;
}

static bool is_softmax(const tl_step *step)
{
    return step->node->attrs.kind == TL_ACT_softmax;
}

static bool is_own_swish(const tl_step *step)
{
    const tl_attrs *a = &step->node->attrs;
    return a->kind == TL_ACT_swish && (!a->has_alpha || a->alpha == 1.f);
}

/* to = swish(x), or diff times its slope at x. */
static void swish(const tl_tensor *x, const tl_tensor *diff, const tl_tensor *to)
{
    const tl_swish_kernels *kernels = tl_swish(x->dtype);
    int64_t n = tl_tensor_count(x);
#pragma omp parallel for schedule(static) if (n > BLOCK)
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t part = n - at < BLOCK ? n - at : BLOCK;
        if (diff == NULL)
            kernels->forward(tl_tensor_at(x, at), tl_tensor_at(to, at), part);
        else
            kernels->backward(tl_tensor_at(x, at), tl_tensor_at(diff, at), tl_tensor_at(to, at),
                              part);
    }
}

/* What softmax and ReLU let through shows in the result, which the next layer keeps anyway. */
static bool reads_dst_only(const tl_step *step)
{
    const tl_attrs *a = &step->node->attrs;
    return is_softmax(step) || (a->kind == TL_ACT_relu && (!a->has_alpha || a->alpha == 0.f));
}

static bool backward_reads(const tl_step *step, int k)
{
    return (k == TL_DST) == reads_dst_only(step);
}

static void choose(const tl_graph *graph, const tl_node *node, tl_layout spatial, tl_layout *src,
                   tl_layout *dst)
{
    (void)graph, (void)spatial;
    if (node->attrs.kind == TL_ACT_softmax)
        *src = TL_LAYOUT_PLAIN;
    *dst = *src;
}

static bool takes_bf16(const tl_graph *graph, const tl_node *node, bool training)
{
    (void)graph, (void)training;
    return node->attrs.kind != TL_ACT_softmax;
}

static tl_status create(tl_build *build, tl_step *step, tl_error *err)
{
    if (is_softmax(step) || is_own_swish(step))
        return TL_OK;
    TL_TRY(tl_calloc(&step->state, 1, sizeof(activation_state), "an activation", err));
    activation_state *state = step->state;
    const tl_attrs *attrs = &step->node->attrs;
    tl_status status = TL_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL, backward = NULL;
    dnnl_alg_kind_t algorithm;
    float a, b;
    tl_activation_eltwise(attrs->kind, attrs->has_alpha, attrs->alpha, &algorithm, &a, &b);
    if (step->training && reads_dst_only(step))
        algorithm = dnnl_eltwise_relu_use_dst_for_bwd;
    TL_TRY_GOTO(tl_attr_create(&attr, NULL, err));
    TL_DNN_GOTO(
        tl_dnn.eltwise_forward_primitive_desc_create(
            &pd, tl_dnn.engine, step->training ? dnnl_forward_training : dnnl_forward_inference,
            algorithm, step->src[0]->md, step->dst->md, a, b, attr),
        step->name);
    if (step->training && step->diff_src[0] != NULL) {
        TL_DNN_GOTO(tl_dnn.eltwise_backward_primitive_desc_create(
                        &backward, tl_dnn.engine, algorithm, step->src[0]->md, step->dst->md,
                        step->src[0]->md, a, b, pd, attr),
                    step->name);
        TL_TRY_GOTO(tl_primitive_create(&state->backward, backward, build, step->name, err));
    }
    status = tl_primitive_create(&state->forward, pd, build, step->name, err);
    pd = NULL;
fail:
    if (pd != NULL)
        tl_dnn.primitive_desc_destroy(pd);
    if (attr != NULL)
        tl_dnn.primitive_attr_destroy(attr);
    return status;
}

static tl_status bind(tl_step *step, void *scratchpad, tl_error *err)
{
    activation_state *state = step->state;
    if (state == NULL)
        return TL_OK;
    tl_primitive *p = &state->forward;
    TL_TRY(tl_primitive_bind(p, DNNL_ARG_SRC, step->src[0]->md, step->src[0]->data, err));
    TL_TRY(tl_primitive_bind(p, DNNL_ARG_DST, step->dst->md, step->dst->data, err));
    TL_TRY(tl_primitive_bind_scratchpad(p, scratchpad, err));
    if (!step->training || step->diff_src[0] == NULL)
        return TL_OK;
    p = &state->backward;
    bool by_dst = reads_dst_only(step);
    const tl_tensor *kept = by_dst ? step->kept_dst : step->kept_src[0];
    TL_TRY(tl_primitive_bind(p, by_dst ? DNNL_ARG_DST : DNNL_ARG_SRC, kept->md, kept->data, err));
    TL_TRY(
        tl_primitive_bind(p, DNNL_ARG_DIFF_DST, step->dst->diff->md, step->dst->diff->data, err));
    TL_TRY(tl_primitive_bind(p, DNNL_ARG_DIFF_SRC, step->diff_src[0]->md, step->diff_src[0]->data,
                             err));
    return tl_primitive_bind_scratchpad(p, scratchpad, err);
}

static void softmax_row(const float *src, float *dst, int64_t n)
{
    float top = src[0];
    double sum = 0;
    for (int64_t i = 1; i < n; i++)
        top = src[i] > top ? src[i] : top;
    for (int64_t i = 0; i < n; i++) {
        dst[i] = expf(src[i] - top);
        sum += dst[i];
    }
    for (int64_t i = 0; i < n; i++)
        dst[i] = (float)(dst[i] / sum);
}

static tl_status forward(tl_step *step, const tl_run *run, tl_error *err)
{
    if (is_own_swish(step)) {
        swish(step->src[0], NULL, step->dst);
        return TL_OK;
    }
    if (!is_softmax(step))
        return tl_primitive_run(&((activation_state *)step->state)->forward, run, step->name, err);
    int64_t n = step->dst->dims[step->dst->rank - 1];
    int64_t rows = tl_shape_size(step->dst->rank, step->dst->dims) / n;
    const float *src = step->src[0]->data;
    float *dst = step->dst->data;
    for (int64_t r = 0; r < rows; r++)
        softmax_row(src + r * n, dst + r * n, n);
    return TL_OK;
}

static tl_status backward(tl_step *step, const tl_run *run, tl_error *err)
{
    if (step->diff_src[0] == NULL)
        return TL_OK;
    if (is_own_swish(step)) {
        swish(step->kept_src[0], step->dst->diff, step->diff_src[0]);
        return TL_OK;
    }
    if (!is_softmax(step))
        return tl_primitive_run(&((activation_state *)step->state)->backward, run, step->name,
                                err);
    int64_t n = step->dst->dims[step->dst->rank - 1];
    int64_t rows = tl_shape_size(step->dst->rank, step->dst->dims) / n;
    const float *y = step->kept_dst->data, *dy = step->dst->diff->data;
    float *dx = step->diff_src[0]->data;
    for (int64_t r = 0; r < rows; r++, y += n, dy += n, dx += n) {
        double dot = 0;
        for (int64_t i = 0; i < n; i++)
            dot += (double)y[i] * dy[i];
        for (int64_t i = 0; i < n; i++)
            dx[i] = (float)(y[i] * (dy[i] - dot));
    }
    return TL_OK;
}

static void kernels(const tl_step *step, tl_kernels *out)
{
    const activation_state *state = step->state;
    out->forward = state != NULL ? state->forward.impl : TL_OWN;
    out->backward_data = state != NULL ? state->backward.impl : step->training ? TL_OWN : NULL;
}

static void destroy(tl_step *step)
{
    activation_state *state = step->state;
    if (state == NULL)
        return;
    tl_primitive_clear(&state->forward);
    tl_primitive_clear(&state->backward);
    tl_free(state);
}

const tl_op tl_op_activation = {
    .infer = infer,
    .choose = choose,
    .takes_bf16 = takes_bf16,
    .backward_reads = backward_reads,
    .overwrites_diff = true,
    .in_place = true,
    .create = create,
    .bind = bind,
    .forward = forward,
    .backward = backward,
    .kernels = kernels,
    .destroy = destroy,
};
