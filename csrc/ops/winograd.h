/* conv2d by Winograd's F(4x4, 3x3), in inference plans: see kernels/winograd.h. */
#ifndef TL_OPS_WINOGRAD_H
#define TL_OPS_WINOGRAD_H

#include "ops/step.h"

/* Can and should this step run that way? */
bool tl_winograd_fits(const tl_step *step);

/* Workspace the step needs. */
size_t tl_winograd_workspace(const tl_step *step);

/* Runs the step with packed kernels u and folded bias (or NULL). */
void tl_winograd_forward(const tl_step *step, const float *u, const float *bias);

/* Process-wide: false keeps all convolutions direct (TL_ARG never; plans made before keep theirs).
 */
void tl_winograd_allow(bool allowed);
bool tl_winograd_allowed(void);

#endif
