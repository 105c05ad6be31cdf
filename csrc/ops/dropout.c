/* dropout: keeps a value where its random number is at least rate and scales it by 1/(1 - rate)
 * (Keras). The mask is not stored: backward draws the same numbers from (seeds, element). */
#include "base/rng.h"
#include "ops/step.h"

static tl_status infer(const tl_graph *graph, const tl_node *node, tl_value *dst, tl_error *err)
{
    if (!(node->attrs.rate >= 0.f && node->attrs.rate < 1.f))
        return tl_fail(err, TL_ARG, "layer '%s': rate %g; allowed: 0 <= rate < 1", node->name,
                       (double)node->attrs.rate);
    int producer = dst->producer;
    *dst = graph->values[node->src[0]];
    dst->producer = producer;
    return TL_OK;
}

static bool keeps(const tl_attrs *a, const tl_run *run, int64_t number)
{
    return tl_rng_uniform(a->seed, run->seed, (uint64_t)number) >= a->rate;
}

/* An element's number is its place in Keras' order, whatever the layout: inference and training
 * plans, and machines with other layouts, draw one mask. */
static void apply(const tl_step *step, const tl_run *run, const tl_tensor *from, tl_tensor *to)
{
    const tl_attrs *a = &step->node->attrs;
    tl_channels c = tl_tensor_channels(step->dst);
    int64_t per_row = tl_shape_size(step->dst->rank, step->dst->dims) / step->dst->dims[0];
    float keep = 1.f / (1.f - a->rate);
#pragma omp parallel for
    for (int64_t r = 0; r < c.outer * c.blocks * c.inner; r++) { /* runs of `width` channels */
        int64_t image = r / c.inner / c.blocks, block = r / c.inner % c.blocks;
        int64_t first = (image * c.inner + r % c.inner) * c.n + block * c.width;
        bool kept = a->per_sample && keeps(a, run, first / per_row);
        for (int64_t i = 0; i < c.width; i++) {
            float value = tl_tensor_get(from, r * c.stride + i);
            if (!a->per_sample)
                kept = keeps(a, run, first + i);
            tl_tensor_set(to, r * c.stride + i, kept ? value * keep : 0.f);
        }
    }
}

static tl_status forward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)err;
    apply(step, run, step->src[0], step->dst);
    return TL_OK;
}

static tl_status backward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)err;
    if (step->diff_src[0] != NULL)
        apply(step, run, step->dst->diff, step->diff_src[0]);
    return TL_OK;
}

const tl_op tl_op_dropout = {
    .infer = infer,
    .choose = tl_choose_same,
    .takes_bf16 = tl_takes_bf16,
    .forward = forward,
    .backward = backward,
};
