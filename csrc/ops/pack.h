/* Weights in the layouts the kernels read, made from the variables when those changed. A pool is
 * shared by all plans of one network (batch sizes 8, 4, 2, 1 ...), so a weight is packed once, and
 * so is the memory of their activations. */
#ifndef TL_OPS_PACK_H
#define TL_OPS_PACK_H

#include "base/dnn.h"
#include "graph/graph.h"

typedef enum tl_pack_kind {
    TL_PACK_KERNEL,              /* (kh, kw, in / groups, out) -> oneDNN's convolution weights */
    TL_PACK_DEPTHWISE,           /* (kh, kw, channels, multiplier) -> oneDNN's grouped weights */
    TL_PACK_WINOGRAD,            /* (3, 3, in, out) -> 36 transformed matrices in panels */
    TL_PACK_WINOGRAD_TRANSPOSED, /* the same for gradients on their way back */
    TL_PACK_BIAS,                /* one value per output channel, batch norm folded in */
} tl_pack_kind;

typedef struct tl_pack {
    struct tl_pack *next;
    tl_pack_kind kind;
    tl_variable *kernel, *bias; /* retained; bias may be NULL */
    tl_variable *norm[4];       /* gamma, beta, mean, variance of a folded batch norm; retained */
    bool has_norm;
    float epsilon;
    int role;      /* tells layouts of one kernel for different primitives apart */
    int64_t n_out; /* output channels */
    int64_t groups;
    dnnl_memory_desc_t md; /* owned; NULL for TL_PACK_BIAS */
    float *data;           /* owned */
    size_t bytes;
    uint64_t version; /* sum of the variables' versions it was packed from */
} tl_pack;

typedef struct tl_pool tl_pool;

tl_status tl_pool_create(tl_pool **out, tl_error *err); /* one reference */
void tl_pool_retain(tl_pool *pool);
void tl_pool_release(tl_pool *pool); /* NULL is fine */
size_t tl_pool_bytes(const tl_pool *pool);

/* Where all plans of the pool have their activations: one runs after the other, and nothing in it
 * outlives a run. Addresses for at least `bytes`; they never change. */
tl_status tl_pool_arena(tl_pool *pool, size_t bytes, void **out, tl_error *err);

/* Makes the first `bytes` of the arena usable, before a run. */
tl_status tl_pool_commit(tl_pool *pool, size_t bytes, tl_error *err);

/* Gives back the memory of packs of these kernels: training is about to change them, and packs its
 * own copies in the arena. They are packed again where a plan reads them. */
void tl_pool_discard(tl_pool *pool, tl_variable *const *kernels, int n);

/* Bytes of the arena that a run has made usable so far. */
size_t tl_pool_committed(const tl_pool *pool);

/* The layout an earlier plan chose for this kernel in this role, or NULL: later plans follow. */
const_dnnl_memory_desc_t tl_pool_find_md(const tl_pool *pool, const tl_variable *kernel,
                                         const tl_node *norm, int role);

/* The pack of the given weights, made on first demand; borrowed, lives as long as the pool. md is
 * copied. norm is a batch_norm node whose scale and shift are folded in, or NULL. */
tl_status tl_pool_get(tl_pool *pool, tl_pack_kind kind, tl_variable *kernel, tl_variable *bias,
                      const tl_node *norm, int role, int64_t n_out, int64_t groups,
                      const_dnnl_memory_desc_t md, tl_pack **out, tl_error *err);

/* The layout of a variable as it is (Keras' order) in oneDNN's order of dimensions; *md is the
 * caller's. kind is TL_PACK_KERNEL or TL_PACK_DEPTHWISE. */
tl_status tl_kernel_md(dnnl_memory_desc_t *md, tl_pack_kind kind, const tl_variable *kernel,
                       int64_t groups, tl_error *err);

/* Packs again if a variable has changed since; the pool's arena, which no plan is using, may be
 * written. */
tl_status tl_pack_refresh(tl_pool *pool, tl_pack *pack, dnnl_stream_t stream, tl_error *err);

#endif
