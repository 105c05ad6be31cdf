/* Losses and their gradients, with Keras' numbers: the batch loss is sum(weight * loss) / N over
 * the N per-sample losses (every position counts as a sample in outputs of higher rank).
 * Cross-entropies behind a softmax or sigmoid are computed from the logits, as Keras' TensorFlow
 * backend does. */
#ifndef TL_TRAIN_LOSS_H
#define TL_TRAIN_LOSS_H

#include "graph/graph.h"

typedef enum tl_loss_kind {
#define X(name) TL_LOSS_##name,
#include "train/loss.def"
#undef X
    TL_LOSS_COUNT
} tl_loss_kind;

typedef struct tl_loss {
    tl_loss_kind kind;
    bool from_logits;      /* the prediction itself holds logits */
    float label_smoothing; /* 0 for none */
    float weight;          /* of this output in the total (loss_weights) */
    float delta;           /* huber: where it becomes linear */
    float alpha, gamma;    /* focal losses: factor, exponent of 1 - p */
    bool balanced;         /* binary focal loss: alpha for positives, 1 - alpha for negatives */
} tl_loss;

const char *tl_loss_name(tl_loss_kind kind);

/* The value the loss is computed from: the logits behind a final softmax or sigmoid for the
 * cross-entropies (then *from_logits becomes true), else the output itself. */
int tl_loss_source(const tl_graph *graph, int output, tl_loss_kind kind, bool *from_logits);

/* rows predictions of n values each; targets (rows, n), or (rows,) for the sparse loss;
 * sample_weight (rows,) or NULL. Adds the mean weighted loss (without loss->weight) to *total,
 * adds d(weight * loss)/d(pred) to diff unless NULL. TL_ARG for a class index out of range. */
tl_status tl_loss_compute(const tl_loss *loss, const float *pred, const float *targets,
                          const float *sample_weight, int64_t rows, int64_t n, float *diff,
                          double *total, tl_error *err);

#endif
