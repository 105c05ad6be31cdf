#include "ops/overlap_pool.h"

#include <omp.h>

#include "kernels/pool_bf16.h"
#include "ops/slice.h"

bool tl_pool_overlaps(const tl_node *node)
{
    const tl_attrs *a = &node->attrs;
    return a->pool[0] > a->strides[0] || a->pool[1] > a->strides[1];
}

bool tl_overlap_pool_fits(const tl_node *node)
{
    const tl_attrs *a = &node->attrs;
    return tl_pool_overlaps(node) && a->pool[0] <= TL_POOL_MAX_CELLS &&
           a->pool[0] * a->pool[1] <= TL_POOL_MAX_CELLS;
}

static tl_windows windows_of(const tl_step *step)
{
    const tl_attrs *a = &step->node->attrs;
    const int64_t *in = step->src[0]->dims, *out = step->dst->dims;
    return (tl_windows){{in[1], in[2]},
                        {out[1], out[2]},
                        {a->pool[0], a->pool[1]},
                        {a->strides[0], a->strides[1]},
                        {a->pads[0], a->pads[2]}};
}

static size_t row_floats(const tl_step *step)
{
    return (size_t)step->src[0]->dims[2] * TL_POOL_WIDTH;
}

void tl_overlap_pool_create(const tl_build *build, tl_step *step)
{
    if (step->node->kind == TL_OP_max_pool2d) /* a byte for each value of the result */
        step->work_bytes[TL_WORK_KEPT] = step->dst->bytes / sizeof(tl_bf16);
    if (step->diff_src[0] != NULL)
        step->work_bytes[TL_WORK_BACKWARD] =
            (size_t)build->n_threads * row_floats(step) * sizeof(float);
}

void tl_overlap_pool_forward(tl_step *step)
{
    const tl_tensor *src = step->src[0], *dst = step->dst;
    const tl_windows w = windows_of(step);
    int64_t slices = tl_slices_per_image(src);
    uint8_t *top = step->work[TL_WORK_KEPT];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < src->dims[0] * slices; i++) {
        tl_slice x = tl_slice_of(src, i / slices, i % slices);
        tl_slice y = tl_slice_of(dst, i / slices, i % slices);
        tl_max_pool_bf16(&w, x.width, x.stride, tl_tensor_at(src, x.at), tl_tensor_at(dst, y.at),
                         top + y.at);
    }
}

void tl_overlap_pool_backward(tl_step *step)
{
    const tl_tensor *dx = step->diff_src[0], *dy = step->dst->diff;
    const tl_windows w = windows_of(step);
    int64_t slices = tl_slices_per_image(dx);
    const uint8_t *top = step->work[TL_WORK_KEPT];
    float *rows = step->work[TL_WORK_BACKWARD];
    size_t row = row_floats(step);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < dx->dims[0] * slices; i++) {
        tl_slice x = tl_slice_of(dx, i / slices, i % slices);
        tl_slice y = tl_slice_of(dy, i / slices, i % slices);
        tl_pool_backward_bf16(&w, x.width, x.stride, tl_tensor_at(dy, y.at),
                              top == NULL ? NULL : top + y.at,
                              rows + (size_t)omp_get_thread_num() * row, tl_tensor_at(dx, x.at));
    }
}
