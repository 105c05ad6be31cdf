/* input, reshape, zero_pad2d, crop2d: ops that move values without changing them. */
#include <string.h>

#include "base/alloc.h"
#include "ops/step.h"

const tl_op tl_op_input = {0}; /* filled by the caller; the plan makes no step of it */

static tl_status infer_reshape(const tl_graph *graph, const tl_node *node, tl_value *dst,
                               tl_error *err)
{
    const tl_value *src = &graph->values[node->src[0]];
    const tl_attrs *a = &node->attrs;
    char from[128], to[128];
    dst->rank = a->shape_rank + 1;
    dst->dims[0] = src->dims[0];
    memcpy(dst->dims + 1, a->shape, (size_t)a->shape_rank * sizeof *a->shape);
    if (tl_shape_size(src->rank, src->dims) != tl_shape_size(dst->rank, dst->dims))
        return tl_fail(err, TL_SHAPE, "layer '%s': cannot reshape %s to %s", node->name,
                       tl_shape_text(src->rank, src->dims, from, sizeof from),
                       tl_shape_text(dst->rank, dst->dims, to, sizeof to));
    return TL_OK;
}

static tl_status reshape_backward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    if (step->diff_src[0] != NULL)
        memcpy(step->diff_src[0]->data, step->dst->diff->data, step->dst->diff->bytes);
    return TL_OK;
}

const tl_op tl_op_reshape = {
    .infer = infer_reshape,
    .takes_bf16 = tl_takes_bf16,
    .is_view = true,
    .backward = reshape_backward,
};

static tl_status infer_pad(const tl_graph *graph, const tl_node *node, tl_value *dst,
                           tl_error *err)
{
    const tl_value *src = &graph->values[node->src[0]];
    char given[128];
    if (src->rank != 4)
        return tl_fail(err, TL_SHAPE, "layer '%s': needs (N, H, W, C), got %s", node->name,
                       tl_shape_text(src->rank, src->dims, given, sizeof given));
    const int64_t *p = node->attrs.pads;
    if (p[0] < 0 || p[1] < 0 || p[2] < 0 || p[3] < 0)
        return tl_fail(err, TL_ARG,
                       "layer '%s': rows and columns (%lld, %lld, %lld, %lld); allowed: 0 or more",
                       node->name, (long long)p[0], (long long)p[1], (long long)p[2],
                       (long long)p[3]);
    int64_t sign = node->kind == TL_OP_crop2d ? -1 : 1;
    int producer = dst->producer;
    *dst = *src;
    dst->producer = producer;
    dst->dims[1] += sign * (node->attrs.pads[0] + node->attrs.pads[1]);
    dst->dims[2] += sign * (node->attrs.pads[2] + node->attrs.pads[3]);
    return TL_OK;
}

/* Copies the rows of the small image to or from its place inside the large one. */
static void copy_window(tl_tensor *large, tl_tensor *small, const int64_t *pads, bool to_large)
{
    tl_channels w = tl_tensor_channels(large);
    bool plain = large->layout == TL_LAYOUT_PLAIN;
    int64_t planes = plain ? large->dims[0] : w.outer * w.blocks;
    int64_t run = plain ? w.n : w.width; /* numbers per position */
    size_t bytes = tl_dtype_bytes(large->dtype);
    int64_t lw = large->dims[2], sh = small->dims[1], sw = small->dims[2], lh = large->dims[1];
#pragma omp parallel for
    for (int64_t p = 0; p < planes; p++)
        for (int64_t y = 0; y < sh; y++) {
            void *l = tl_tensor_at(large, ((p * lh + y + pads[0]) * lw + pads[2]) * run);
            void *s = tl_tensor_at(small, (p * sh + y) * sw * run);
            memcpy(to_large ? l : s, to_large ? s : l, (size_t)(sw * run) * bytes);
        }
}

static tl_status pad_forward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    memset(step->dst->data, 0, step->dst->bytes);
    copy_window(step->dst, step->src[0], step->node->attrs.pads, true);
    return TL_OK;
}

static tl_status pad_backward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    if (step->diff_src[0] != NULL)
        copy_window(step->dst->diff, step->diff_src[0], step->node->attrs.pads, false);
    return TL_OK;
}

static tl_status crop_forward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    copy_window(step->src[0], step->dst, step->node->attrs.pads, false);
    return TL_OK;
}

static tl_status crop_backward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    if (step->diff_src[0] == NULL)
        return TL_OK;
    memset(step->diff_src[0]->data, 0, step->diff_src[0]->bytes);
    copy_window(step->diff_src[0], step->dst->diff, step->node->attrs.pads, true);
    return TL_OK;
}

const tl_op tl_op_zero_pad2d = {.infer = infer_pad,
                                .choose = tl_choose_same,
                                .takes_bf16 = tl_takes_bf16,
                                .forward = pad_forward,
                                .backward = pad_backward};
const tl_op tl_op_crop2d = {.infer = infer_pad,
                            .choose = tl_choose_same,
                            .takes_bf16 = tl_takes_bf16,
                            .forward = crop_forward,
                            .backward = crop_backward};
