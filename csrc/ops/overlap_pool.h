/* Training steps of max_pool2d and avg_pool2d in bfloat16 whose windows overlap, with loops of our
 * own (kernels/pool_bf16.h): forward of the maximum and both gradients. */
#ifndef TL_OPS_OVERLAP_POOL_H
#define TL_OPS_OVERLAP_POOL_H

#include "ops/step.h"

/* Do a node's windows overlap? */
bool tl_pool_overlaps(const tl_node *node);

/* Are they computed here in bfloat16? Not those of more than TL_POOL_MAX_CELLS cells. */
bool tl_overlap_pool_fits(const tl_node *node);

/* In create: asks for the step's work memory. */
void tl_overlap_pool_create(const tl_build *build, tl_step *step);

/* Of max_pool2d; notes what backward needs. */
void tl_overlap_pool_forward(tl_step *step);
void tl_overlap_pool_backward(tl_step *step);

#endif
