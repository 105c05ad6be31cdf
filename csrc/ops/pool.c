/* max_pool2d and avg_pool2d by oneDNN. Average pooling divides by the cells inside the image
 * (Keras' 'same'). */
#include "base/alloc.h"
#include "ops/overlap_pool.h"
#include "ops/step.h"

typedef struct pool_state {
    tl_primitive forward, backward;
    dnnl_memory_desc_t workspace_md; /* owned; NULL without one */
    bool own_forward, own_backward;  /* those of overlap_pool.h */
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
            return tl_fail(err, TL_SHAPE,
                           "layer '%s': pool size %lld with strides %lld, padding %lld and %lld; "
                           "allowed: 1 or more, the padding 0 or more and smaller than the pool",
                           node->name, (long long)a->pool[i], (long long)a->strides[i],
                           (long long)before, (long long)after);
        dst->dims[1 + i] = room < 0 ? 0 : room / a->strides[i] + 1;
    }
    return TL_OK;
}

static bool takes_bf16(const tl_graph *graph, const tl_node *node, bool training)
{
    (void)graph;
    return !training || !tl_pool_overlaps(node) || tl_overlap_pool_fits(node);
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
    if (step->training && step->dst->dtype == TL_BF16 && tl_overlap_pool_fits(step->node)) {
        tl_overlap_pool_create(build, step);
        state->own_backward = true;
        state->own_forward = step->node->kind == TL_OP_max_pool2d;
        if (state->own_forward)
            return TL_OK;
    }
    TL_TRY(create_pd(step, NULL, &pd, err));
    if (step->training && step->diff_src[0] != NULL && !state->own_backward) {
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
    if (state->own_forward)
        return TL_OK;
    tl_primitive *p = &state->forward;
    TL_TRY(tl_primitive_bind(p, DNNL_ARG_SRC, step->src[0]->md, step->src[0]->data, err));
    TL_TRY(tl_primitive_bind(p, DNNL_ARG_DST, step->dst->md, step->dst->data, err));
    if (state->workspace_md != NULL)
        TL_TRY(tl_primitive_bind(p, DNNL_ARG_WORKSPACE, state->workspace_md,
                                 step->work[TL_WORK_KEPT], err));
    TL_TRY(tl_primitive_bind_scratchpad(p, scratchpad, err));
    if (!step->training || step->diff_src[0] == NULL || state->own_backward)
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
    pool_state *state = step->state;
    if (!state->own_forward)
        return tl_primitive_run(&state->forward, run, step->name, err);
    tl_overlap_pool_forward(step);
    return TL_OK;
}

static tl_status backward(tl_step *step, const tl_run *run, tl_error *err)
{
    pool_state *state = step->state;
    if (step->diff_src[0] == NULL)
        return TL_OK;
    if (!state->own_backward)
        return tl_primitive_run(&state->backward, run, step->name, err);
    tl_overlap_pool_backward(step);
    return TL_OK;
}

static void kernels(const tl_step *step, tl_kernels *out)
{
    const pool_state *state = step->state;
    *out = (tl_kernels){state->own_forward ? TL_OWN : state->forward.impl,
                        state->own_backward ? TL_OWN : state->backward.impl, NULL};
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
