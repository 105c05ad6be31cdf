#ifndef TL_OPS_DEPTHWISE_H
#define TL_OPS_DEPTHWISE_H

#include "ops/step.h"

/* Gradients of a depthwise convolution's kernel and bias by our own kernel: where oneDNN has none
 * (more than 3 columns, blocked layout). */
bool tl_depthwise_fits(const tl_step *step);
void tl_depthwise_backward_weights(const tl_step *step);

#endif
