/* The kernel of a convolution, and its gradient, in the layouts that oneDNN's primitives and
 * Winograd's algorithm read. A frozen kernel is the pool's, packed once. One that this step trains
 * changes with every step: it is packed into the arena just before it is read. */
#ifndef TL_OPS_CONV_KERNEL_H
#define TL_OPS_CONV_KERNEL_H

#include "ops/step.h"

/* Roles of a kernel's packed copies; plans of both types may share a pool. */
enum { TL_ROLE_FORWARD, TL_ROLE_BACKWARD_DATA, TL_ROLE_COUNT };

/* The role in the pool for a step's type. */
int tl_conv_role(const tl_step *step, int role);

typedef struct tl_conv_kernel {
    bool is_winograd;      /* 36 matrices; else what a primitive reads */
    tl_pack *pack;         /* borrowed from the pool, or NULL: in the arena */
    tl_work work;          /* where in the arena */
    tl_primitive reorder;  /* variable -> arena; of a gradient: arena -> gradient region */
    dnnl_memory_desc_t md; /* its layout there, for the primitive; owned */
} tl_conv_kernel;

bool tl_conv_is_depthwise(const tl_node *node);
int64_t tl_conv_groups(const tl_node *node);
int64_t tl_conv_channels(const tl_node *node); /* of the result */

/* The kernel for a primitive that reads it in the layout md, or for Winograd's algorithm where md
 * is NULL: trained, it lies at the beginning of the algorithm's work memory. */
tl_status tl_conv_kernel_create(tl_build *build, tl_step *step, const_dnnl_memory_desc_t md,
                                int role, tl_conv_kernel *out, tl_error *err);

/* The gradient that a primitive writes in the layout md. */
tl_status tl_conv_diff_kernel_create(tl_build *build, tl_step *step, const_dnnl_memory_desc_t md,
                                     tl_conv_kernel *out, tl_error *err);

/* The kernel as the argument of the primitive that reads it. */
tl_status tl_conv_kernel_bind(tl_step *step, tl_conv_kernel *kernel, tl_primitive *reader,
                              void *scratchpad, tl_error *err);

/* The gradient as the argument of the primitive that writes it; where only the bias is trained
 * nobody reads it. */
tl_status tl_conv_diff_kernel_bind(tl_step *step, tl_conv_kernel *kernel, tl_primitive *writer,
                                   void *scratchpad, tl_error *err);

/* Packs a trained kernel, or unpacks its gradient; nothing for a frozen one. */
tl_status tl_conv_kernel_run(const tl_conv_kernel *kernel, const tl_step *step, const tl_run *run,
                             tl_error *err);

/* Where it is after that. */
const float *tl_conv_kernel_values(const tl_conv_kernel *kernel, const tl_step *step);

void tl_conv_kernel_clear(tl_conv_kernel *kernel);

#endif
