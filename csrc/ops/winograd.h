/* conv2d by Winograd's F(4x4, 3x3), forward and both gradients: see kernels/winograd.h. */
#ifndef TL_OPS_WINOGRAD_H
#define TL_OPS_WINOGRAD_H

#include "ops/step.h"

/* Can and should this step run that way: forward, its gradient back to the source, and that of the
 * kernel? */
bool tl_winograd_fits(const tl_step *step);
bool tl_winograd_fits_backward_data(const tl_step *step);
bool tl_winograd_fits_backward_weights(const tl_step *step);

/* Work memory that they need, TL_WORK_FORWARD and, one after the other, TL_WORK_BACKWARD. */
size_t tl_winograd_work(const tl_step *step, int n_threads);
size_t tl_winograd_work_backward_data(const tl_step *step, int n_threads);
size_t tl_winograd_work_backward_weights(const tl_step *step, int n_threads);

/* Runs the step with packed kernels u (see ops/conv_kernel.h) and folded bias (or NULL). */
void tl_winograd_forward(const tl_step *step, const float *u, const float *bias);

/* diff_src from dst's gradient. */
void tl_winograd_backward_data(const tl_step *step, const float *u);

/* The gradient of the kernel, in Keras' layout, and of the bias where it is wanted. The sums run
 * in one order, whatever the number of threads. */
void tl_winograd_backward_weights(const tl_step *step);

/* Process-wide: false keeps all convolutions direct; plans made before keep theirs. */
void tl_winograd_allow(bool allowed);
bool tl_winograd_allowed(void);

#endif
