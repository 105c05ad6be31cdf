/* A whole training step: forward, losses, backward, then one update. Until the update starts the
 * step can be cancelled and has changed nothing; the update itself runs to its end. */
#ifndef TL_TRAIN_TRAINER_H
#define TL_TRAIN_TRAINER_H

#include "plan/plan.h"
#include "train/loss.h"
#include "train/optimizer.h"

typedef struct tl_train_args {
    const tl_feed *feeds;
    const float *const *targets;        /* per loss */
    const float *const *sample_weights; /* per loss, entries may be NULL */
    float *const *outputs;              /* per output of the plan; may be NULL */
    uint64_t seed;
    float learning_rate;
    int64_t iteration;
    double *losses; /* per loss, filled; unweighted */
} tl_train_args;

/* Loss i is computed from seed i of the plan. updates == NULL: evaluation; optimizer == NULL:
 * gradients too, and nothing is changed. */
tl_status tl_train_step(tl_plan *plan, const tl_loss *losses, int n_losses,
                        const tl_optimizer *optimizer, const tl_update *updates, int n_updates,
                        const tl_train_args *args, tl_error *err);

#endif
