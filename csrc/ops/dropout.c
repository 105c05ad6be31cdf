/* dropout: keeps a value where its random number is at least rate and scales it by 1/(1 - rate)
 * (Keras). The mask is not stored: backward draws the same numbers from (seeds, element). */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "kernels/norm.h"
#include "ops/step.h"

#define BLOCK ((int64_t)1 << 14) /* numbers a thread takes at a time */

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

/* to = from * factor, `n` numbers from `at`. */
static void scale(const tl_tensor *from, tl_tensor *to, int64_t at, int64_t n, float factor)
{
    tl_norm_map map = {.low = -INFINITY, .high = INFINITY};
    for (int k = 0; k < TL_NORM_WIDTH; k++)
        map.scale[k] = factor;
    int64_t whole = n / TL_NORM_WIDTH, rest = at + whole * TL_NORM_WIDTH;
    const tl_norm_kernels *kernels = tl_norm(to->dtype);
    kernels->apply(tl_tensor_at(from, at), NULL, tl_tensor_at(to, at), whole, TL_NORM_WIDTH,
                   TL_NORM_WIDTH, &map);
    kernels->apply(tl_tensor_at(from, rest), NULL, tl_tensor_at(to, rest), 1, TL_NORM_WIDTH,
                   (int)(n % TL_NORM_WIDTH), &map);
}

/* One decision per image: whole images, which lie behind each other in every layout. */
static void apply_per_sample(const tl_step *step, const tl_run *run, const tl_tensor *from,
                             tl_tensor *to)
{
    const tl_attrs *a = &step->node->attrs;
    int64_t images = to->dims[0], n = tl_tensor_count(to) / images;
    float keep = 1.f / (1.f - a->rate);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t image = 0; image < images; image++)
        for (int64_t first = 0; first < n; first += BLOCK) {
            int64_t at = image * n + first, part = n - first < BLOCK ? n - first : BLOCK;
            if (keeps(a, run, image))
                scale(from, to, at, part, keep);
            else
                memset(tl_tensor_at(to, at), 0, (size_t)part * tl_dtype_bytes(to->dtype));
        }
}

/* An element's number is its place in Keras' order, whatever the layout: inference and training
 * plans, and machines with other layouts, draw one mask. */
static void apply_per_element(const tl_step *step, const tl_run *run, const tl_tensor *from,
                              tl_tensor *to)
{
    const tl_attrs *a = &step->node->attrs;
    tl_channels c = tl_tensor_channels(step->dst);
    float keep = 1.f / (1.f - a->rate);
#pragma omp parallel for
    for (int64_t r = 0; r < c.outer * c.blocks * c.inner; r++) { /* runs of `width` channels */
        int64_t image = r / c.inner / c.blocks, block = r / c.inner % c.blocks;
        int64_t first = (image * c.inner + r % c.inner) * c.n + block * c.width;
        for (int64_t i = 0; i < c.width; i++) {
            float value = tl_tensor_get(from, r * c.stride + i);
            bool kept = keeps(a, run, first + i);
            tl_tensor_set(to, r * c.stride + i, kept ? value * keep : 0.f);
        }
    }
}

static void apply(const tl_step *step, const tl_run *run, const tl_tensor *from, tl_tensor *to)
{
    (step->node->attrs.per_sample ? apply_per_sample : apply_per_element)(step, run, from, to);
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
