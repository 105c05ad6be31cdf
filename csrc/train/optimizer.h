/* One update of all trainable variables, after the whole backward pass: clip, weight decay, update
 * (Keras' order). Formulas as in Keras 3's optimizers. */
#ifndef TL_TRAIN_OPTIMIZER_H
#define TL_TRAIN_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/variable.h"

#define TL_MAX_SLOTS 3

typedef enum tl_optimizer_kind { TL_SGD, TL_ADAM, TL_RMSPROP } tl_optimizer_kind;

typedef struct tl_optimizer {
    tl_optimizer_kind kind;
    float momentum;       /* SGD, RMSprop */
    bool nesterov;        /* SGD */
    float beta_1, beta_2; /* Adam */
    float epsilon;
    bool amsgrad;
    float rho; /* RMSprop */
    bool centered;
    float weight_decay;                         /* 0 for none */
    float clipnorm, clipvalue, global_clipnorm; /* 0 for none; at most one is set */
} tl_optimizer;

/* What the update knows of one variable. slots in Keras' order: SGD momentum; Adam momentum,
 * velocity, maximum of velocity; RMSprop velocity, momentum, mean gradient. */
typedef struct tl_update {
    tl_variable *variable;
    float *gradient; /* overwritten; NULL: the variable has no part in this plan */
    tl_variable *slots[TL_MAX_SLOTS];
    bool decays;  /* weight decay applies */
    float l1, l2; /* regularisation: adds l1 * sign(w) + 2 * l2 * w to the gradient */
    float rate;   /* factor on the learning rate of this variable; 1 for none */
} tl_update;

/* iteration counts updates done before this one. */
void tl_optimizer_step(const tl_optimizer *optimizer, const tl_update *updates, int n,
                       float learning_rate, int64_t iteration);

#endif
