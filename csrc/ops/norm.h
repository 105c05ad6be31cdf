#ifndef TL_OPS_NORM_H
#define TL_OPS_NORM_H

#include "ops/step.h"

/* The weights of a batch_norm node; gamma and beta may be NULL. */
enum { TL_GAMMA, TL_BETA, TL_MEAN, TL_VARIANCE };

/* Writes the moving mean and variance of a batch_norm step that ran in training mode: part of the
 * update that ends a training step. */
void tl_norm_update_moving(const tl_step *step);

#endif
