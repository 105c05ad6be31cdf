/* batch_norm over the last axis. Inference (or frozen): an affine map by the moving statistics.
 * Training: batch mean and biased variance (Keras 3), whose moving averages are staged in the
 * workspace and written by the update that ends the step.
 * A channel's sums are made by one thread in one order, so bits do not depend on the thread count.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "ops/norm.h"
#include "ops/step.h"

enum { GAMMA, BETA, MEAN, VARIANCE };

static tl_status infer(const tl_graph *graph, const tl_node *node, tl_value *dst, tl_error *err)
{
    const tl_value *src = &graph->values[node->src[0]];
    int64_t channels = src->dims[src->rank - 1];
    char given[128];
    for (int i = 0; i < 4; i++) {
        const tl_variable *w = node->weights[i];
        if ((w == NULL && i >= MEAN) || (w != NULL && (int64_t)w->size != channels))
            return tl_fail(err, TL_SHAPE, "layer '%s': weights for %lld channels, the input is %s",
                           node->name, w != NULL ? (long long)w->size : 0LL,
                           tl_shape_text(src->rank, src->dims, given, sizeof given));
    }
    int producer = dst->producer;
    *dst = *src;
    dst->producer = producer;
    return TL_OK;
}

/* Workspace: mean and 1/sqrt(var + eps) used, and (training mode) variance, per channel. */
static float *used_mean(const tl_step *step)
{
    return step->workspace;
}

static float *used_inverse(const tl_step *step)
{
    return (float *)step->workspace + step->node->weights[MEAN]->size;
}

static float *batch_variance(const tl_step *step)
{
    return (float *)step->workspace + 2 * step->node->weights[MEAN]->size;
}

static tl_status create(tl_build *build, tl_step *step, tl_error *err)
{
    (void)build, (void)err;
    step->workspace_bytes = 3 * step->node->weights[MEAN]->size * sizeof(float);
    return TL_OK;
}

/* Mean and biased variance of one channel: two passes, sums in double. */
static void channel_statistics(const tl_tensor *t, tl_channels w, int64_t c, double *mean,
                               double *variance)
{
    int64_t image = w.blocks * w.inner * w.stride, positions = w.outer * w.inner;
    const float *base = t->data + c / w.width * w.inner * w.stride + c % w.width;
    double sum = 0, squares = 0;
    for (int64_t o = 0; o < w.outer; o++)
        for (int64_t p = 0; p < w.inner; p++)
            sum += base[o * image + p * w.stride];
    *mean = sum / (double)positions;
    for (int64_t o = 0; o < w.outer; o++)
        for (int64_t p = 0; p < w.inner; p++) {
            double d = base[o * image + p * w.stride] - *mean;
            squares += d * d;
        }
    *variance = squares / (double)positions;
}

static void make_statistics(tl_step *step)
{
    const tl_node *node = step->node;
    int64_t n = (int64_t)node->weights[MEAN]->size;
    tl_channels w = tl_tensor_channels(step->src[0]);
    float *mean = used_mean(step), *inverse = used_inverse(step), *kept = batch_variance(step);
    bool batch = node->attrs.training;
#pragma omp parallel for
    for (int64_t c = 0; c < n; c++) {
        double m = node->weights[MEAN]->data[c], v = node->weights[VARIANCE]->data[c];
        if (batch)
            channel_statistics(step->src[0], w, c, &m, &v);
        mean[c] = (float)m;
        kept[c] = (float)v;
        inverse[c] = (float)(1.0 / sqrt(v + (double)node->attrs.epsilon));
    }
}

static float weight_or(const tl_step *step, int which, int64_t c, float otherwise)
{
    const tl_variable *w = step->node->weights[which];
    return w != NULL ? w->data[c] : otherwise;
}

static tl_status forward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    tl_channels w = tl_tensor_channels(step->src[0]);
    make_statistics(step);
    const float *mean = used_mean(step), *inverse = used_inverse(step);
    const float *from = step->src[0]->data;
    float *to = step->dst->data;
    int64_t rows = w.outer * w.blocks;
    int64_t n_tiles = w.inner < 64 ? 1 : w.inner / 32; /* PLAIN has one row: split its positions */
#pragma omp parallel for collapse(2)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t tile = 0; tile < n_tiles; tile++) {
            int64_t c0 = r % w.blocks * w.width, at = r * w.inner * w.stride;
            int64_t end = (tile + 1) * w.inner / n_tiles;
            for (int64_t p = tile * w.inner / n_tiles; p < end; p++)
                for (int64_t k = 0; k < w.width && c0 + k < w.n; k++) {
                    float scale = weight_or(step, GAMMA, c0 + k, 1.f) * inverse[c0 + k];
                    float shift = weight_or(step, BETA, c0 + k, 0.f) - mean[c0 + k] * scale;
                    to[at + p * w.stride + k] = from[at + p * w.stride + k] * scale + shift;
                }
            for (int64_t p = tile * w.inner / n_tiles; p < end; p++)
                for (int64_t k = w.n > c0 ? w.n - c0 : 0; k < w.width; k++)
                    to[at + p * w.stride + k] = 0.f; /* channels that pad a block stay zero */
        }
    return TL_OK;
}

/* One channel: the two sums, then the gradient of the source.
 * training mode: dx = gamma * inv * (dy - mean(dy) - xhat * mean(dy * xhat)) (Ioffe, Szegedy 2015)
 */
static void channel_backward(tl_step *step, tl_channels w, int64_t c)
{
    int64_t image = w.blocks * w.inner * w.stride, positions = w.outer * w.inner;
    int64_t first = c / w.width * w.inner * w.stride + c % w.width;
    const float *x = step->src[0]->data + first, *dy = step->dst->diff->data + first;
    float mean = used_mean(step)[c], inverse = used_inverse(step)[c];
    double sum = 0, sum_xhat = 0;
    for (int64_t o = 0; o < w.outer; o++)
        for (int64_t p = 0; p < w.inner; p++) {
            int64_t i = o * image + p * w.stride;
            sum += dy[i];
            sum_xhat += (double)dy[i] * (((double)x[i] - mean) * inverse);
        }
    if (step->wants_diff_weights[GAMMA])
        step->diff_weights[GAMMA][c] = (float)sum_xhat;
    if (step->wants_diff_weights[BETA])
        step->diff_weights[BETA][c] = (float)sum;
    if (step->diff_src[0] == NULL)
        return;
    float *dx = step->diff_src[0]->data + first;
    float scale = weight_or(step, GAMMA, c, 1.f) * inverse;
    bool batch = step->node->attrs.training;
    float mean_dy = batch ? (float)(sum / (double)positions) : 0.f;
    float mean_dy_xhat = batch ? (float)(sum_xhat / (double)positions) : 0.f;
    for (int64_t o = 0; o < w.outer; o++)
        for (int64_t p = 0; p < w.inner; p++) {
            int64_t i = o * image + p * w.stride;
            dx[i] = scale * (dy[i] - mean_dy - (x[i] - mean) * inverse * mean_dy_xhat);
        }
}

static tl_status backward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    tl_channels w = tl_tensor_channels(step->src[0]);
    if (step->diff_src[0] != NULL && w.n % w.width != 0)
        memset(step->diff_src[0]->data, 0, step->diff_src[0]->bytes);
#pragma omp parallel for
    for (int64_t c = 0; c < w.n; c++)
        channel_backward(step, w, c);
    return TL_OK;
}

void tl_norm_update_moving(const tl_step *step)
{
    const tl_node *node = step->node;
    float keep = node->attrs.momentum;
    for (size_t c = 0; c < node->weights[MEAN]->size; c++) {
        float *mean = &node->weights[MEAN]->data[c], *variance = &node->weights[VARIANCE]->data[c];
        *mean = *mean * keep + used_mean(step)[c] * (1.f - keep);
        *variance = *variance * keep + batch_variance(step)[c] * (1.f - keep);
    }
    tl_variable_touch(node->weights[MEAN]);
    tl_variable_touch(node->weights[VARIANCE]);
}

const tl_op tl_op_batch_norm = {
    .infer = infer,
    .choose = tl_choose_same,
    .backward_reads_src = true,
    .create = create,
    .forward = forward,
    .backward = backward,
};
