/* Live ranges -> offsets in one arena. Tensors that live at the same time never overlap. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/os.h"
#include "plan/internal.h"

static void touch(tl_tensor *tensor, int time)
{
    tensor = tl_tensor_root(tensor);
    if (tensor->first < 0 || time < tensor->first)
        tensor->first = time;
    if (time > tensor->last)
        tensor->last = time;
}

static void mark_work(tl_plan *plan, int i)
{
    const tl_step *step = &plan->steps[i];
    tl_tensor **work = &plan->work[i * TL_WORK_COUNT];
    bool stages = step->node != NULL && step->node->kind == TL_OP_batch_norm;
    int back = step->training ? plan->backward_time[i] : i;
    if (work[TL_WORK_KEPT] != NULL) {
        touch(work[TL_WORK_KEPT], i);
        touch(work[TL_WORK_KEPT], stages ? plan->end_time : back);
    }
    if (work[TL_WORK_FORWARD] != NULL)
        touch(work[TL_WORK_FORWARD], i);
    if (work[TL_WORK_BACKWARD] != NULL)
        touch(work[TL_WORK_BACKWARD], back);
}

static void mark_live_ranges(tl_plan *plan)
{
    int end = plan->end_time;
    for (int i = 0; i < plan->n_steps; i++) {
        tl_step *step = &plan->steps[i];
        int back = plan->backward_time[i];
        touch(step->dst, i);
        for (int k = 0; k < step->n_src; k++) {
            touch(step->src[k], i);
            if (step->training && tl_backward_reads_src(step, k))
                touch(step->kept_src[k], back);
            if (step->diff_src[k] != NULL)
                touch(step->diff_src[k], back);
        }
        if (step->training && tl_backward_reads_dst(step))
            touch(step->kept_dst, back);
        if (step->dst->diff != NULL)
            touch(step->dst->diff, back);
        if (step->product != NULL) {
            touch(step->product->dst->diff, back);
            touch(step->product->kept_src[1], back);
        }
        mark_work(plan, i);
    }
    for (int i = 0; i < plan->n_repeats; i++) {
        const tl_step *step = &plan->repeats[i].step;
        int time = plan->repeats[i].time;
        touch(step->dst, time);
        for (int k = 0; k < step->n_src; k++)
            touch(step->src[k], time);
    }
    for (int i = 0; i < plan->n_feeds; i++)
        if (plan->feeds[i] != NULL)
            touch(plan->feeds[i], 0); /* filled before the first step */
    for (int i = 0; i < plan->n_outputs; i++)
        touch(plan->outputs[i], end);
    for (int i = 0; i < plan->n_seeds; i++) {
        touch(plan->seeds[i], plan->n_steps);
        if (plan->seeds[i]->diff != NULL)
            touch(plan->seeds[i]->diff, plan->n_steps);
    }
}

static int by_size(const void *a, const void *b)
{
    const tl_tensor *x = *(tl_tensor *const *)a, *y = *(tl_tensor *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : 0;
}

static size_t rounded(size_t bytes)
{
    return (bytes + TL_ALIGNMENT - 1) / TL_ALIGNMENT * TL_ALIGNMENT;
}

/* Largest first, each at the lowest offset that is free during its life. `placed` is sorted by
 * offset. Returns the end of the tensor. */
static size_t place_one(tl_tensor *tensor, tl_tensor **placed, int *n_placed)
{
    size_t at = 0;
    for (int i = 0; i < *n_placed; i++) {
        const tl_tensor *other = placed[i];
        if (other->first > tensor->last || other->last < tensor->first)
            continue;
        if (at + rounded(tensor->bytes) <= other->offset)
            break;
        size_t behind = other->offset + rounded(other->bytes);
        at = behind > at ? behind : at;
    }
    tensor->offset = at;
    int i = (*n_placed)++;
    for (; i > 0 && placed[i - 1]->offset > at; i--)
        placed[i] = placed[i - 1];
    placed[i] = tensor;
    return at + rounded(tensor->bytes);
}

static tl_status assign_offsets(tl_plan *plan, size_t *total, tl_error *err)
{
    tl_tensor **roots = NULL, **placed = NULL;
    tl_status status = TL_OK;
    int n = 0, n_placed = 0;
    TL_TRY_GOTO(tl_calloc((void **)&roots, (size_t)plan->n_tensors, sizeof *roots, "a plan", err));
    TL_TRY_GOTO(
        tl_calloc((void **)&placed, (size_t)plan->n_tensors, sizeof *placed, "a plan", err));
    for (int i = 0; i < plan->n_tensors; i++)
        if (plan->tensors[i]->alias == NULL && plan->tensors[i]->first >= 0)
            roots[n++] = plan->tensors[i];
    qsort(roots, (size_t)n, sizeof *roots, by_size);
    *total = 0;
    for (int i = 0; i < n; i++) {
        size_t end = place_one(roots[i], placed, &n_placed);
        *total = end > *total ? end : *total;
    }
fail:
    tl_free(roots);
    tl_free(placed);
    return status;
}

tl_status tl_plan_place(tl_plan *plan, tl_error *err)
{
    mark_live_ranges(plan);
    TL_TRY(assign_offsets(plan, &plan->scratchpad_at, err));
    plan->arena_bytes = plan->scratchpad_at + rounded(plan->build.scratchpad_bytes);
    TL_TRY(tl_pool_arena(plan->pool, plan->arena_bytes, &plan->arena, err));
    for (int i = 0; i < plan->n_tensors; i++) {
        tl_tensor *root = tl_tensor_root(plan->tensors[i]);
        if (root->first >= 0)
            plan->tensors[i]->data = (char *)plan->arena + root->offset;
    }
    for (int i = 0; i < plan->n_steps; i++)
        for (int k = 0; k < TL_WORK_COUNT; k++)
            if (plan->work[i * TL_WORK_COUNT + k] != NULL)
                plan->steps[i].work[k] = plan->work[i * TL_WORK_COUNT + k]->data;
    return TL_OK;
}

/* Refuses what cannot fit, before the kernel's out-of-memory killer decides: activations
 * beyond those of the pool's other plans, and gradients. */
static tl_status check_memory(const tl_plan *plan, tl_error *err)
{
    size_t used = tl_pool_committed(plan->pool), available = tl_os_memory_available();
    size_t needed = plan->arena_bytes > used ? plan->arena_bytes - used : 0;
    needed += plan->gradient_bytes;
    if (needed <= available)
        return TL_OK;
    return tl_fail(err, TL_NOMEM,
                   "activations and gradients need %zu MB more memory, %zu MB are available",
                   needed >> 20, available >> 20);
}

tl_status tl_plan_commit(tl_plan *plan, tl_error *err)
{
    if (plan->committed)
        return TL_OK;
    TL_TRY(check_memory(plan, err));
    TL_TRY(tl_pool_commit(plan->pool, plan->arena_bytes, err));
    plan->committed = true;
    return TL_OK;
}
