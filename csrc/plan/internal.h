/* Inside the plan: what creation fills and running reads. */
#ifndef TL_PLAN_INTERNAL_H
#define TL_PLAN_INTERNAL_H

#include "plan/plan.h"

typedef struct tl_gradient {
    float *data;   /* into the gradient region */
    int trainable; /* index of the variable */
    size_t size;
} tl_gradient;

/* A forward step that runs once more, before step `before` runs backward. */
typedef struct tl_repeat {
    tl_step step;
    int before;
    int time; /* on the plan's time line */
} tl_repeat;

struct tl_plan {
    const tl_graph *graph;
    tl_pool *pool;
    int n_threads; /* the team all primitives were made for */

    tl_node *nodes; /* rewritten copies of the graph's nodes: own src arrays, the rest borrowed */
    bool *needed, *needs_gradient, *is_feed; /* per value */
    int *n_uses;                             /* per value, by needed nodes and outputs */
    tl_dtype *dtypes;                        /* per value: how its node makes it */

    int n_steps, cap_steps;
    tl_step *steps;
    size_t repeat_from; /* bytes */
    int n_repeats;
    tl_repeat *repeats; /* later ones of the network first */
    /* The time line: step i runs forward at i, the seeds are filled at n_steps, then backward
     * steps and repeats run in turn until end_time. */
    int *backward_time; /* per step */
    int end_time;
    int n_tensors, cap_tensors;
    tl_tensor **tensors; /* owned; tensors of values, gradients, temporaries, work memory */
    tl_tensor *
        *by_value;       /* [(value * 2 + (dtype is bf16)) * TL_LAYOUT_COUNT + layout], borrowed */
    tl_tensor **primary; /* per value: the tensor it is produced in */
    tl_tensor **work;    /* [step * TL_WORK_COUNT + kind], or NULL */

    int n_feeds, n_outputs, n_seeds, n_trainable;
    tl_tensor **feeds, **outputs, **seeds;
    tl_variable **trainable; /* retained */
    int n_gradients;
    tl_gradient *gradients; /* one per use of a trainable variable, first uses first */
    int *first_gradient;    /* per trainable variable: its entry in gradients, -1 if unused */
    void *gradient_region;
    size_t gradient_bytes;

    bool committed;       /* the arena can be used */
    void *arena;          /* the pool's */
    size_t arena_bytes;   /* scratchpad included */
    size_t scratchpad_at; /* its offset */
    tl_build build;
    dnnl_stream_t stream;
    tl_run run;
    double *seconds;    /* per step forward, backward; NULL: not measured */
    int64_t n_measured; /* runs since then */
};

/* rewrite.c: fills nodes, needed, needs_gradient, n_uses; folds paddings into convolutions. */
tl_status tl_plan_rewrite(tl_plan *plan, const tl_plan_spec *spec, tl_error *err);

/* steps.c: nodes -> steps with tensors in their layouts. */
tl_status tl_plan_make_steps(tl_plan *plan, const tl_plan_spec *spec, tl_error *err);

/* excite.c: which pools write the gradient of a product along. */
void tl_plan_join_products(tl_plan *plan);

/* repeat.c: what backward makes again; after it every step knows what its backward reads, and the
 * time line is set. */
tl_status tl_plan_choose_repeats(tl_plan *plan, tl_error *err);

/* memory.c: live ranges, offsets, the arena. After it every tensor has an address, which
 * tl_plan_commit makes usable: a plan that never runs takes no memory. */
tl_status tl_plan_place(tl_plan *plan, tl_error *err);
tl_status tl_plan_commit(tl_plan *plan, tl_error *err);

/* plan.c: the step whose result tensor is, or -1: a feed. */
int tl_plan_producer(const tl_plan *plan, const tl_tensor *tensor);

/* profile.c: the clock, 0 in a plan that is not measured; adds the time since then to a step. */
double tl_plan_clock(const tl_plan *plan);
void tl_plan_add_time(tl_plan *plan, int step, bool backward, double since);

tl_status tl_plan_new_tensor(tl_plan *plan, tl_tensor **out, tl_error *err);

#endif
