/* Which results backward makes again instead of keeping them from forward. Batch norm,
 * activations, sums, joins and pools of small windows cost a pass over memory each; kept, they
 * take as much memory as the convolutions' results they are made of. A repeat runs before the
 * first backward step that reads its result. */
#include "base/alloc.h"
#include "plan/internal.h"

static bool is_cheap(const tl_step *step)
{
    if (step->node == NULL)
        return true; /* a change of form */
    switch (step->node->kind) {
        case TL_OP_batch_norm:
        case TL_OP_add:
        case TL_OP_multiply:
        case TL_OP_concat:
        case TL_OP_avg_pool2d:
        case TL_OP_max_pool2d:
        case TL_OP_zero_pad2d:
            return true;
        case TL_OP_activation:
            return step->node->attrs.kind != TL_ACT_softmax;
        default:
            return false;
    }
}

static bool can_repeat(const tl_plan *plan, int i)
{
    const tl_tensor *dst = plan->steps[i].dst;
    if (!is_cheap(&plan->steps[i]) || dst->alias != NULL || dst->bytes < plan->repeat_from)
        return false;
    for (int k = 0; k < plan->n_tensors; k++)
        if (plan->tensors[k]->alias == dst)
            return false; /* somebody else's memory too */
    for (int k = 0; k < plan->n_outputs; k++)
        if (plan->outputs[k] == dst)
            return false;
    for (int k = 0; k < plan->n_seeds; k++)
        if (plan->seeds[k] == dst)
            return false;
    return true;
}

/* The first step of the backward pass that reads the result of step i, or -1. */
static int first_backward_reader(const tl_plan *plan, int i)
{
    int first = -1;
    for (int j = i + 1; j < plan->n_steps; j++) {
        const tl_step *reader = &plan->steps[j];
        for (int k = 0; reader->training && k < reader->n_src; k++)
            if (reader->src[k] == plan->steps[i].dst && tl_backward_reads_src(reader, k))
                first = j;
    }
    const tl_step *step = &plan->steps[i];
    return first < 0 && step->training && tl_backward_reads_dst(step) ? i : first;
}

static bool reads(const tl_step *step, const tl_tensor *tensor)
{
    for (int k = 0; k < step->n_src; k++)
        if (step->src[k] == tensor)
            return true;
    return false;
}

/* Step i and the others that could be repeated from the tensor. */
static size_t count_repeats_from(const tl_plan *plan, int i, const tl_tensor *tensor,
                                 const int *before)
{
    size_t n = 1;
    for (int j = 0; j < plan->n_steps; j++)
        n += j != i && before[j] >= 0 && reads(&plan->steps[j], tensor) && can_repeat(plan, j);
    return n;
}

/* Memory that would have to be kept to repeat step i and would not be otherwise; what others can
 * be repeated from too counts in part. */
static size_t cost(const tl_plan *plan, int i, const int *before)
{
    size_t bytes = 0;
    for (int k = 0; k < plan->steps[i].n_src; k++) {
        int from = tl_plan_producer(plan, plan->steps[i].src[k]);
        if (from < 0 || (before[from] < 0 && !can_repeat(plan, from)))
            bytes += plan->steps[i].src[k]->bytes /
                     count_repeats_from(plan, i, plan->steps[i].src[k], before);
    }
    return bytes;
}

static tl_status add_repeat(tl_plan *plan, int i, int before, tl_error *err)
{
    const tl_step *step = &plan->steps[i];
    tl_step *repeat = &plan->repeats[plan->n_repeats].step;
    plan->repeats[plan->n_repeats++].before = before; /* from here on tl_plan_destroy clears it */
    *repeat = (tl_step){.op = step->op,
                        .node = step->node,
                        .name = step->name,
                        .n_src = step->n_src,
                        .repeats = step,
                        .has_activation = step->has_activation,
                        .activation = step->activation,
                        .alpha = step->alpha};
    size_t n = (size_t)step->n_src;
    TL_TRY(tl_calloc((void **)&repeat->src, n, sizeof *repeat->src, "a step", err));
    TL_TRY(tl_calloc((void **)&repeat->diff_src, n, sizeof *repeat->diff_src, "a step", err));
    TL_TRY(tl_plan_new_tensor(plan, &repeat->dst, err));
    return tl_tensor_init_like(repeat->dst, step->dst, plan->build.block, err);
}

/* Everybody who reads a repeated result in backward reads the repeat's. */
static void redirect(tl_plan *plan)
{
    for (int r = 0; r < plan->n_repeats; r++) {
        const tl_step *repeat = &plan->repeats[r].step;
        const tl_tensor *first = repeat->repeats->dst;
        for (int i = 0; i < plan->n_steps; i++) {
            for (int k = 0; k < plan->steps[i].n_src; k++)
                if (plan->steps[i].src[k] == first)
                    plan->steps[i].kept_src[k] = repeat->dst;
            if (plan->steps[i].dst == first)
                plan->steps[i].kept_dst = repeat->dst;
        }
    }
    for (int r = 0; r < plan->n_repeats; r++)
        for (int k = 0; k < plan->repeats[r].step.n_src; k++)
            plan->repeats[r].step.src[k] = plan->repeats[r].step.repeats->kept_src[k];
}

/* Repeats of one `before` run in the order of the network, so that each finds its sources. */
static void set_times(tl_plan *plan)
{
    int time = plan->n_steps;
    for (int i = plan->n_steps - 1; i >= 0; i--) {
        for (int r = plan->n_repeats - 1; r >= 0; r--)
            if (plan->repeats[r].before == i)
                plan->repeats[r].time = ++time;
        plan->backward_time[i] = ++time;
    }
    plan->end_time = time + 1;
}

tl_status tl_plan_choose_repeats(tl_plan *plan, tl_error *err)
{
    int *before = NULL; /* per step: its result is needed when this one runs backward, or -1 */
    tl_status status = TL_OK;
    size_t n = (size_t)plan->n_steps;
    TL_TRY_GOTO(tl_calloc((void **)&plan->backward_time, n, sizeof(int), "a plan", err));
    TL_TRY_GOTO(tl_calloc((void **)&plan->repeats, n, sizeof *plan->repeats, "a plan", err));
    TL_TRY_GOTO(tl_calloc((void **)&before, n, sizeof *before, "a plan", err));
    for (int i = 0; i < plan->n_steps; i++)
        before[i] = first_backward_reader(plan, i);
    for (int i = plan->n_steps - 1; i >= 0; i--) { /* readers come before what they read */
        if (before[i] < 0 || !can_repeat(plan, i) ||
            cost(plan, i, before) >= plan->steps[i].dst->bytes)
            continue;
        TL_TRY_GOTO(add_repeat(plan, i, before[i], err));
        for (int k = 0; k < plan->steps[i].n_src; k++) {
            int from = tl_plan_producer(plan, plan->steps[i].src[k]);
            if (from >= 0 && before[from] < before[i])
                before[from] = before[i];
        }
    }
    redirect(plan);
    set_times(plan);
fail:
    tl_free(before);
    return status;
}
