/* A batch norm of an inference plan that no convolution took along, with the ReLU behind it and
 * the join in front of it: the parts are read where they are and written once, normalised
 * (DenseNet joins before every norm). */
#include <math.h>

#include "kernels/norm.h"
#include "ops/norm.h"
#include "ops/step.h"

#define ROWS 16   /* positions a thread takes at a time */
#define NARROW 16 /* fewer channels fill no vector: so many positions are one row */

static int64_t n_channels(const tl_step *step)
{
    return step->dst->dims[step->dst->rank - 1];
}

/* Positions that are computed as one row: images have three channels. */
static int64_t n_together(const tl_step *step)
{
    const tl_tensor *dst = step->dst;
    bool narrow = step->n_src == 1 && n_channels(step) < NARROW && dst->rank == 4 &&
                  dst->layout == TL_LAYOUT_PLAIN && dst->dims[1] * dst->dims[2] % NARROW == 0;
    return narrow ? NARROW : 1;
}

static float *scale_of(const tl_step *step)
{
    return step->work[TL_WORK_FORWARD];
}

static float *shift_of(const tl_step *step)
{
    return scale_of(step) + n_channels(step) * n_together(step);
}

static tl_status create(tl_build *build, tl_step *step, tl_error *err)
{
    (void)build, (void)err;
    step->work_bytes[TL_WORK_FORWARD] =
        2 * (size_t)(n_channels(step) * n_together(step)) * sizeof(float);
    return TL_OK;
}

static void write_map(const tl_step *step)
{
    const tl_node *node = step->node;
    const float *gamma = node->weights[TL_GAMMA] != NULL ? node->weights[TL_GAMMA]->data : NULL;
    const float *beta = node->weights[TL_BETA] != NULL ? node->weights[TL_BETA]->data : NULL;
    const float *mean = node->weights[TL_MEAN]->data, *variance = node->weights[TL_VARIANCE]->data;
    float *scale = scale_of(step), *shift = shift_of(step);
    int64_t n = n_channels(step);
    for (int64_t c = 0; c < n; c++) {
        float inverse = (float)(1.0 / sqrt((double)variance[c] + (double)node->attrs.epsilon));
        scale[c] = (gamma != NULL ? gamma[c] : 1.f) * inverse;
        shift[c] = (beta != NULL ? beta[c] : 0.f) - mean[c] * scale[c];
    }
    for (int64_t i = n; i < n * n_together(step); i++) {
        scale[i] = scale[i - n];
        shift[i] = shift[i - n];
    }
}

/* One source whose channels start at `first` in the result. */
static void map_rows(const tl_step *step, const tl_tensor *src, int64_t first, float high)
{
    int64_t n = src->dims[src->rank - 1] * n_together(step);
    int64_t all = n_channels(step) * n_together(step);
    int64_t rows = tl_shape_size(src->rank, src->dims) / n;
    const float *scale = scale_of(step) + first, *shift = shift_of(step) + first;
    float low = step->has_activation ? 0.f : -INFINITY;
#pragma omp for schedule(static) nowait
    for (int64_t r = 0; r < rows; r += ROWS)
        tl_norm(src->dtype)
            ->map_rows(tl_tensor_at(src, r * n), tl_tensor_at(step->dst, r * all + first),
                       rows - r < ROWS ? rows - r : ROWS, n, all, n, scale, shift, low, high);
}

static void map_blocks(const tl_step *step, const tl_tensor *src, int64_t first, float high)
{
    int64_t n = src->dims[3], block = src->block, positions = src->dims[1] * src->dims[2];
    int64_t blocks = (n + block - 1) / block, all = (n_channels(step) + block - 1) / block;
#pragma omp for schedule(static) nowait
    for (int64_t job = 0; job < src->dims[0] * blocks; job++) {
        int64_t image = job / blocks, b = job % blocks;
        tl_norm_map map = {.low = step->has_activation ? 0.f : -INFINITY, .high = high};
        for (int64_t k = 0; k < block && b * block + k < n; k++) { /* padding maps to zero */
            map.scale[k] = scale_of(step)[first + b * block + k];
            map.shift[k] = shift_of(step)[first + b * block + k];
        }
        void *to = tl_tensor_at(step->dst, (image * all + first / block + b) * positions * block);
        tl_norm(src->dtype)
            ->apply(tl_tensor_at(src, job * positions * block), NULL, to, positions, block,
                    (int)block, &map);
    }
}

static tl_status forward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    bool blocked = step->dst->layout == TL_LAYOUT_BLOCKED;
    float high = step->has_activation && step->activation == TL_ACT_relu6 ? 6.f : INFINITY;
    write_map(step);
#pragma omp parallel
    for (int64_t i = 0, first = 0; i < step->n_src; i++) {
        const tl_tensor *src = step->src[i];
        (blocked ? map_blocks : map_rows)(step, src, first, high);
        first += src->dims[src->rank - 1];
    }
    return TL_OK;
}

const tl_op tl_op_norm_map = {
    .create = create,
    .forward = forward,
};
