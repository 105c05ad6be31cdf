/* Inside the plan: what creation fills and running reads. */
#ifndef TL_PLAN_INTERNAL_H
#define TL_PLAN_INTERNAL_H

#include "plan/plan.h"

typedef struct tl_gradient {
    float *data;   /* into the gradient region */
    int trainable; /* index of the variable */
    size_t size;
} tl_gradient;

struct tl_plan {
    const tl_graph *graph;
    tl_pool *pool;
    int n_threads; /* the team all primitives were made for */

    tl_node *nodes; /* rewritten copies of the graph's nodes: own src arrays, the rest borrowed */
    bool *needed, *needs_gradient, *is_feed; /* per value */
    int *n_uses;                             /* per value, by needed nodes and outputs */

    int n_steps, cap_steps;
    tl_step *steps;
    int n_tensors, cap_tensors;
    tl_tensor **tensors;    /* owned; tensors of values, gradients, temporaries, workspaces */
    tl_tensor **by_value;   /* [value * TL_LAYOUT_COUNT + layout], borrowed from tensors */
    tl_tensor **primary;    /* per value: the tensor it is produced in */
    tl_tensor **workspaces; /* per step, or NULL */

    int n_feeds, n_outputs, n_seeds, n_trainable;
    tl_tensor **feeds, **outputs, **seeds;
    tl_variable **trainable; /* retained */
    int n_gradients;
    tl_gradient *gradients; /* one per use of a trainable variable, first uses first */
    int *first_gradient;    /* per trainable variable: its entry in gradients, -1 if unused */
    void *gradient_region;
    size_t gradient_bytes;

    void *arena;          /* the pool's */
    size_t arena_bytes;   /* scratchpad included */
    size_t scratchpad_at; /* its offset */
    tl_build build;
    dnnl_stream_t stream;
    tl_run run;
};

/* rewrite.c: fills nodes, needed, needs_gradient, n_uses; folds paddings into convolutions. */
tl_status tl_plan_rewrite(tl_plan *plan, const tl_plan_spec *spec, tl_error *err);

/* steps.c: nodes -> steps with tensors in their layouts. */
tl_status tl_plan_make_steps(tl_plan *plan, const tl_plan_spec *spec, tl_error *err);

/* memory.c: live ranges, offsets, the arena. After it every tensor has an address. */
tl_status tl_plan_place(tl_plan *plan, tl_error *err);

tl_status tl_plan_new_tensor(tl_plan *plan, tl_tensor **out, tl_error *err);

/* Position of step i's backward on the time line: forward 0..n-1, seeds n, backward n+1..2n. */
static inline int tl_backward_time(const tl_plan *plan, int i)
{
    return 2 * plan->n_steps - i;
}

#endif
