/* How long steps take, what computes them, and how much there is to compute. */
#include <omp.h>
#include <string.h>

#include "base/alloc.h"
#include "plan/internal.h"

double tl_plan_clock(const tl_plan *plan)
{
    return plan->seconds != NULL ? omp_get_wtime() : 0;
}

void tl_plan_add_time(tl_plan *plan, int step, bool backward, double since)
{
    if (plan->seconds != NULL)
        plan->seconds[2 * step + backward] += omp_get_wtime() - since;
}

tl_status tl_plan_measure(tl_plan *plan, bool on, tl_error *err)
{
    tl_free(plan->seconds);
    plan->seconds = NULL;
    plan->n_measured = 0;
    if (!on)
        return TL_OK;
    return tl_calloc((void **)&plan->seconds, 2 * (size_t)plan->n_steps, sizeof(double),
                     "a profile", err);
}

static bool has_kernel(const tl_step *step)
{
    return step->node != NULL &&
           (step->node->kind == TL_OP_conv2d || step->node->kind == TL_OP_depthwise_conv2d ||
            step->node->kind == TL_OP_dense);
}

/* Every element of the result is a sum over the kernel's values for its channel. */
static double direct_flops(const tl_step *step)
{
    double elements = (double)tl_shape_size(step->dst->rank, step->dst->dims);
    return 2 * elements * (double)step->node->weights[0]->size /
           (double)step->dst->dims[step->dst->rank - 1];
}

void tl_plan_profile(const tl_plan *plan, int i, tl_profile *out)
{
    const tl_step *step = &plan->steps[i];
    *out = (tl_profile){.bytes = step->op->is_view ? 0 : step->dst->bytes};
    if (plan->seconds != NULL) {
        out->runs = plan->n_measured;
        out->seconds_forward = plan->seconds[2 * i];
        out->seconds_backward = plan->seconds[2 * i + 1];
    }
    for (int k = 0; !step->op->is_view && k < step->n_src; k++)
        out->bytes += step->src[k]->bytes;
    if (has_kernel(step)) {
        double flops = direct_flops(step);
        bool data = step->training && step->diff_src[0] != NULL;
        bool weights = step->training && step->wants_diff_weights[0];
        out->bytes += step->node->weights[0]->size * sizeof(float);
        out->flops_forward = flops;
        out->flops_backward = flops * (data + weights);
    }
    if (step->op->kernels != NULL)
        step->op->kernels(step, &out->kernels);
    else if (step->op->forward != NULL)
        out->kernels =
            (tl_kernels){.forward = TL_OWN, .backward_data = step->training ? TL_OWN : NULL};
}
