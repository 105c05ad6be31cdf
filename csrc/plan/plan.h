/* When and where: a graph's nodes as an ordered list of steps with all memory placed beforehand.
 * An inference plan folds batch norm, activations and residual sums into the convolutions. A
 * training plan keeps what backward reads and stops at the first trainable layer.
 * Creation and running happen on the compute thread; running allocates nothing. */
#ifndef TL_PLAN_PLAN_H
#define TL_PLAN_PLAN_H

#include "ops/step.h"

typedef struct tl_plan tl_plan;

typedef struct tl_plan_spec {
    const tl_graph *graph; /* borrowed, outlives the plan */
    int n_feeds;
    const int *feeds; /* values the caller provides: inputs, or values in the middle */
    int n_outputs;
    const int *outputs; /* values the caller reads */
    tl_pool *pool;      /* retained */
    int n_trainable;
    tl_variable *const *trainable; /* retained; none: an inference plan */
    int n_seeds;
    const int *seeds;   /* values the losses read, whose gradient the caller provides */
    size_t repeat_from; /* cheap results of so many bytes are made again in backward */
} tl_plan_spec;

typedef struct tl_feed {
    const void *data; /* row-major, the whole batch */
    tl_dtype dtype;   /* TL_F32 or TL_U8 */
} tl_feed;

tl_status tl_plan_create(tl_plan **out, const tl_plan_spec *spec, tl_error *err);
void tl_plan_destroy(tl_plan *plan); /* NULL is fine */

/* Runs the steps on the feeds and copies the outputs, in the order of the spec. outputs may be
 * NULL, as may single ones. seed decides dropout and augmentation. TL_CANCELLED between steps. */
tl_status tl_plan_forward(tl_plan *plan, const tl_feed *feeds, float *const *outputs,
                          uint64_t seed, tl_error *err);

/* Value of output i after forward, and the gradient to fill for seed i; valid until the next
 * forward. */
const float *tl_plan_output(const tl_plan *plan, int i);
float *tl_plan_seed(const tl_plan *plan, int i); /* NULL in an inference plan */
const float *tl_plan_seed_value(const tl_plan *plan, int i);
/* Rows and last dimension of seed i: all but the last axis count as rows. */
void tl_plan_seed_shape(const tl_plan *plan, int i, int64_t *rows, int64_t *n);

/* Gradients of all trainable variables from the seeds. TL_CANCELLED between steps. */
tl_status tl_plan_backward(tl_plan *plan, tl_error *err);

tl_variable *tl_plan_trainable(const tl_plan *plan, int i);

/* Gradient of trainable variable i (order of the spec), shape and order of the variable. */
float *tl_plan_gradient(const tl_plan *plan, int i);

/* Writes the moving statistics that training-mode batch norms staged in forward. */
void tl_plan_update_statistics(tl_plan *plan);

/* Bytes of activations, their gradients and scratch; of the gradients of weights. */
size_t tl_plan_arena_bytes(const tl_plan *plan);
size_t tl_plan_gradient_bytes(const tl_plan *plan);

int tl_plan_n_steps(const tl_plan *plan);
const tl_step *tl_plan_step(const tl_plan *plan, int i);

/* Starts to add up how long every step takes, from zero; or stops. */
tl_status tl_plan_measure(tl_plan *plan, bool on, tl_error *err);

typedef struct tl_profile {
    tl_kernels kernels;
    int64_t runs;                             /* since tl_plan_measure */
    double seconds_forward, seconds_backward; /* of all of them */
    double flops_forward, flops_backward;     /* of one run: products and sums of layers with a
                                                 kernel, counted as direct computation */
    size_t bytes; /* that forward reads and writes at least: sources, kernel, result */
} tl_profile;

void tl_plan_profile(const tl_plan *plan, int i, tl_profile *out);

#endif
