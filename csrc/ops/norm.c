/* batch_norm over the last axis, with the ReLU or swish behind it where there is one, or with a
 * residual (a second source) added before the ReLU. Inference (or frozen): an affine map by the
 * moving statistics. Training: batch mean and biased variance (Keras 3), whose moving averages are
 * staged in the workspace and written by the update that ends the step. Nothing but the source is
 * kept for backward: what the activation let through is computed again, or with a residual read
 * from the result, which the next layer keeps anyway. A channel's sums are made by one thread in
 * one order, so bits do not depend on the thread count. */
#include "ops/norm.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/norm.h"
#include "ops/step.h"

static tl_status infer(const tl_graph *graph, const tl_node *node, tl_value *dst, tl_error *err)
{
    const tl_value *src = &graph->values[node->src[0]];
    int64_t channels = src->dims[src->rank - 1];
    char given[128];
    for (int i = 0; i < 4; i++) {
        const tl_variable *w = node->weights[i];
        if ((w == NULL && i >= TL_MEAN) || (w != NULL && (int64_t)w->size != channels))
            return tl_fail(err, TL_SHAPE, "layer '%s': weights for %lld channels, the input is %s",
                           node->name, w != NULL ? (long long)w->size : 0LL,
                           tl_shape_text(src->rank, src->dims, given, sizeof given));
    }
    int producer = dst->producer;
    *dst = *src;
    dst->producer = producer;
    return TL_OK;
}

/* Workspace, per channel: the mean, 1/sqrt(var + eps) and variance that forward used. */
static float *used_mean(const tl_step *step)
{
    return step->work[TL_WORK_KEPT];
}

static float *used_inverse(const tl_step *step)
{
    return (float *)step->work[TL_WORK_KEPT] + step->node->weights[TL_MEAN]->size;
}

static float *used_variance(const tl_step *step)
{
    return (float *)step->work[TL_WORK_KEPT] + 2 * step->node->weights[TL_MEAN]->size;
}

static tl_status create(tl_build *build, tl_step *step, tl_error *err)
{
    (void)build, (void)err;
    if (step->repeats == NULL)
        step->work_bytes[TL_WORK_KEPT] = 3 * step->node->weights[TL_MEAN]->size * sizeof(float);
    return TL_OK;
}

static const tl_tensor *residual_of(const tl_step *step)
{
    return step->n_src == 2 ? step->src[1] : NULL;
}

/* The result, where backward reads what was clipped from it; else NULL. */
static const tl_tensor *clipped_of(const tl_step *step)
{
    return residual_of(step) != NULL ? step->kept_dst : NULL;
}

static void *at_or_null(const tl_tensor *tensor, int64_t i)
{
    return tensor != NULL ? tl_tensor_at(tensor, i) : NULL;
}

static bool backward_reads(const tl_step *step, int k)
{
    return k == 0 || (k == TL_DST && residual_of(step) != NULL);
}

/* A group of channels: `runs` runs of `n` positions, `run` numbers from one to the next. */
typedef struct group {
    int64_t at, runs, run, n, stride, channel;
    int width, real; /* channels with and without padding */
} group;

static int64_t count_groups(const tl_tensor *t)
{
    tl_channels w = tl_tensor_channels(t);
    return w.blocks > 1 || w.width <= TL_NORM_WIDTH
               ? w.blocks
               : (w.width + TL_NORM_WIDTH - 1) / TL_NORM_WIDTH;
}

static group group_of(const tl_tensor *t, int64_t i)
{
    tl_channels w = tl_tensor_channels(t);
    bool split = w.blocks == 1 && w.width > TL_NORM_WIDTH;
    int64_t channel = i * (split ? TL_NORM_WIDTH : w.width);
    int64_t width = split ? w.width - channel : w.width;
    group g = {.at = split ? channel : i * w.inner * w.stride,
               .runs = w.outer,
               .run = w.blocks * w.inner * w.stride,
               .n = w.inner,
               .stride = w.stride,
               .channel = channel,
               .width = (int)(width < TL_NORM_WIDTH ? width : TL_NORM_WIDTH)};
    int64_t real = w.n - channel;
    g.real = real < g.width ? (int)real : g.width;
    return g;
}

static void batch_statistics(const tl_tensor *t, const group *g, double *mean, double *variance)
{
    const tl_norm_kernels *kernels = tl_norm(t->dtype);
    double sum[TL_NORM_WIDTH] = {0}, squares[TL_NORM_WIDTH] = {0};
    double count = (double)(g->runs * g->n);
    float origin[TL_NORM_WIDTH]; /* any value of the channel: keeps squares small */
    for (int k = 0; k < g->width; k++)
        origin[k] = tl_tensor_get(t, g->at + k);
    for (int64_t r = 0; r < g->runs; r++)
        kernels->moments(tl_tensor_at(t, g->at + r * g->run), g->n, g->stride, g->width, origin,
                         sum, squares);
    for (int k = 0; k < g->width; k++) {
        double d = sum[k] / count, v = squares[k] / count - d * d;
        mean[k] = origin[k] + d;
        variance[k] = v > 0 ? v : 0;
    }
}

static float weight_or(const tl_step *step, int which, int64_t c, float otherwise)
{
    const tl_variable *w = step->node->weights[which];
    return w != NULL ? w->data[c] : otherwise;
}

/* The affine map of a group from the statistics in use, and the limits of the activation. Padding
 * channels map to zero. */
static tl_norm_map map_of(const tl_step *step, const group *g)
{
    tl_norm_map map = {.low = -INFINITY, .high = INFINITY};
    for (int k = 0; k < g->real; k++) {
        int64_t c = g->channel + k;
        map.scale[k] = weight_or(step, TL_GAMMA, c, 1.f) * used_inverse(step)[c];
        map.shift[k] = weight_or(step, TL_BETA, c, 0.f) - used_mean(step)[c] * map.scale[k];
    }
    map.swish = step->has_activation && step->activation == TL_ACT_swish;
    if (step->has_activation && !map.swish) {
        map.low = 0.f;
        map.high = step->activation == TL_ACT_relu6 ? 6.f : INFINITY;
    }
    return map;
}

static void use_statistics(tl_step *step, const group *g)
{
    const tl_node *node = step->node;
    double mean[TL_NORM_WIDTH] = {0}, variance[TL_NORM_WIDTH] = {0};
    if (node->attrs.training)
        batch_statistics(step->src[0], g, mean, variance);
    for (int k = 0; k < g->real; k++) {
        int64_t c = g->channel + k;
        double m = node->attrs.training ? mean[k] : node->weights[TL_MEAN]->data[c];
        double v = node->attrs.training ? variance[k] : node->weights[TL_VARIANCE]->data[c];
        used_mean(step)[c] = (float)m;
        used_variance(step)[c] = (float)v;
        used_inverse(step)[c] = (float)(1.0 / sqrt(v + (double)node->attrs.epsilon));
    }
}

static tl_status forward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    const tl_tensor *src = step->src[0], *residual = residual_of(step);
    const tl_norm_kernels *kernels = tl_norm(src->dtype);
    int64_t n = count_groups(src);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        group g = group_of(src, i);
        if (step->repeats == NULL)
            use_statistics(step, &g);
        tl_norm_map map = map_of(step->repeats != NULL ? step->repeats : step, &g);
        for (int64_t r = g.runs - 1; r >= 0; r--) { /* the last ones are in the cache */
            int64_t at = g.at + r * g.run;
            kernels->apply(tl_tensor_at(src, at), at_or_null(residual, at),
                           tl_tensor_at(step->dst, at), g.n, g.stride, g.width, &map);
        }
    }
    return TL_OK;
}

/* Writes the gradients of the sources that want one. */
static void pull_back(tl_step *step, const group *g, const float *a, const float *b,
                      const float *c, const tl_norm_map *map)
{
    const tl_tensor *x = step->kept_src[0], *dy = step->dst->diff, *y = clipped_of(step);
    const tl_tensor *dx = step->diff_src[0], *dr = step->n_src == 2 ? step->diff_src[1] : NULL;
    const tl_norm_kernels *kernels = tl_norm(x->dtype);
    if (dx == NULL && dr == NULL)
        return;
    for (int64_t r = g->runs - 1; r >= 0; r--) { /* see forward */
        int64_t at = g->at + r * g->run;
        kernels->pull_back(tl_tensor_at(x, at), tl_tensor_at(dy, at), at_or_null(y, at),
                           at_or_null(dx, at), at_or_null(dr, at), g->n, g->stride, g->width, a, b,
                           c, map);
    }
}

/* The two sums, then the gradients of the sources. In training mode (Ioffe, Szegedy 2015)
 * dx = gamma * inv * (dy - mean(dy) - xhat * mean(dy * xhat)), written as a * dy + b * x + c. */
static void group_backward(tl_step *step, const group *g)
{
    const tl_tensor *x = step->kept_src[0], *dy = step->dst->diff, *y = clipped_of(step);
    const tl_norm_kernels *kernels = tl_norm(x->dtype);
    tl_norm_map map = map_of(step, g);
    double sum[TL_NORM_WIDTH] = {0}, product[TL_NORM_WIDTH] = {0};
    double count = (double)(g->runs * g->n);
    float mean[TL_NORM_WIDTH] = {0}, a[TL_NORM_WIDTH] = {0}, b[TL_NORM_WIDTH] = {0};
    float c[TL_NORM_WIDTH] = {0};
    memcpy(mean, used_mean(step) + g->channel, (size_t)g->real * sizeof(float));
    for (int64_t r = 0; r < g->runs; r++) {
        int64_t at = g->at + r * g->run;
        kernels->gradients(tl_tensor_at(x, at), tl_tensor_at(dy, at), at_or_null(y, at), g->n,
                           g->stride, g->width, mean, &map, sum, product);
    }
    for (int k = 0; k < g->real; k++) {
        int64_t channel = g->channel + k;
        double inverse = used_inverse(step)[channel], sum_xhat = product[k] * inverse;
        if (step->wants_diff_weights[TL_GAMMA])
            step->diff_weights[TL_GAMMA][channel] = (float)sum_xhat;
        if (step->wants_diff_weights[TL_BETA])
            step->diff_weights[TL_BETA][channel] = (float)sum[k];
        a[k] = map.scale[k];
        if (step->node->attrs.training) {
            double slope = map.scale[k] * inverse * sum_xhat / count;
            b[k] = (float)-slope;
            c[k] = (float)(slope * mean[k] - map.scale[k] * sum[k] / count);
        }
    }
    pull_back(step, g, a, b, c, &map);
}

static tl_status backward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    int64_t n = count_groups(step->src[0]);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        group g = group_of(step->src[0], i);
        group_backward(step, &g);
    }
    return TL_OK;
}

void tl_norm_update_moving(const tl_step *step)
{
    const tl_node *node = step->node;
    float keep = node->attrs.momentum;
    for (size_t c = 0; c < node->weights[TL_MEAN]->size; c++) {
        float *mean = &node->weights[TL_MEAN]->data[c],
              *variance = &node->weights[TL_VARIANCE]->data[c];
        *mean = *mean * keep + used_mean(step)[c] * (1.f - keep);
        *variance = *variance * keep + used_variance(step)[c] * (1.f - keep);
    }
    tl_variable_touch(node->weights[TL_MEAN]);
    tl_variable_touch(node->weights[TL_VARIANCE]);
}

const tl_op tl_op_batch_norm = {
    .infer = infer,
    .choose = tl_choose_same,
    .takes_bf16 = tl_takes_bf16,
    .backward_reads = backward_reads,
    .overwrites_diff = true,
    .create = create,
    .forward = forward,
    .backward = backward,
};
