/* How a node is computed. A plan turns every node (or fused group of nodes) into a step; the
 * step's op makes its primitives, binds them to memory and runs them. Life of a step:
 *
 *   create             shapes and layouts are known: make primitives, ask for work memory
 *   bind               all memory has an address now
 *   forward, backward  run; nothing is allocated here
 *   destroy            accepts a half-made step
 *
 * Everything happens on the compute thread. */
#ifndef TL_OPS_STEP_H
#define TL_OPS_STEP_H

#include "base/dnn.h"
#include "graph/graph.h"
#include "ops/pack.h"

/* Order of a rank-4 value in memory; other ranks are always PLAIN. */
typedef enum tl_layout {
    TL_LAYOUT_PLAIN,   /* row-major in Keras' order: N, H, W, C */
    TL_LAYOUT_NCHW,    /* for images that go into a blocked convolution */
    TL_LAYOUT_BLOCKED, /* N, C/b, H, W, b with b = 8 or 16; channels padded with zeros */
    TL_LAYOUT_COUNT
} tl_layout;

typedef struct tl_tensor {
    int rank;
    int64_t dims[TL_MAX_RANK]; /* Keras order */
    tl_layout layout;
    tl_dtype dtype;          /* TL_F32 or TL_BF16 */
    int block;               /* channels per block, 1 unless BLOCKED */
    dnnl_memory_desc_t md;   /* owned; oneDNN's order of dimensions (N, C, H, W) */
    size_t bytes;            /* padding included */
    void *data;              /* into the plan's arena, after bind */
    bool needs_gradient;     /* depends on a trainable variable */
    struct tl_tensor *diff;  /* gradient of the loss, same layout and type; NULL where none is
                                needed */
    struct tl_tensor *alias; /* shares that tensor's memory; NULL for its own */
    int first, last;         /* steps of the plan's time line between which it is alive */
    size_t offset;           /* in the arena */
} tl_tensor;

/* What ops may ask of the plan while steps are created. */
typedef struct tl_build {
    const tl_graph *graph;
    tl_pool *pool;           /* packed weights, shared between plans of one network */
    int n_threads;           /* of the team the primitives are made for */
    int block;               /* tl_block() */
    size_t scratchpad_bytes; /* the largest any primitive asked for */
} tl_build;

/* What steps get while they run. */
typedef struct tl_run {
    dnnl_stream_t stream;
    tl_pool *pool;  /* whose plan runs */
    uint64_t seed;  /* of this step: dropout and augmentation draw from (seed, element) */
    int64_t n_rows; /* rows of the batch that carry data; the others are padding */
} tl_run;

typedef struct tl_step tl_step;

/* Memory of a step's own in the arena, by how long it is needed. */
typedef enum tl_work {
    TL_WORK_KEPT,     /* from forward to backward; of staged statistics to the update */
    TL_WORK_FORWARD,  /* while forward runs */
    TL_WORK_BACKWARD, /* while backward runs */
    TL_WORK_COUNT
} tl_work;

/* What computes a step: oneDNN's name of the implementation, or ours. NULL: nothing does. */
typedef struct tl_kernels {
    const char *forward, *backward_data, *backward_weights;
} tl_kernels;

typedef struct tl_op {
    tl_shape_fn infer;
    /* Which layouts a rank-4 step wants: `spatial` is the plan's choice for convolutions, *src
     * comes in as the layout of the first source. NULL: PLAIN for both. All sources get *src. */
    void (*choose)(const tl_graph *graph, const tl_node *node, tl_layout spatial, tl_layout *src,
                   tl_layout *dst);
    /* May a step of a node that asks for bf16 compute in it (sources and result)? NULL: never. */
    bool (*takes_bf16)(const tl_graph *graph, const tl_node *node, bool training);
    bool starts_bf16; /* and is worth a change of type in front; others go on with what comes */
    bool makes_f32;   /* of bf16 too */
    bool backward_reads_src, backward_reads_dst; /* all sources */
    /* Where the step decides: does backward read source k, or dst (k = TL_DST)? NULL: the flags
     * say. */
    bool (*backward_reads)(const tl_step *step, int k);
    /* backward adds by itself where accumulate[i] is set */
    bool adds_diff;
    /* so it does, and where src and dst have one shape, d dst / d src is 1: gradients may share
     * memory */
    bool passes_diff;
    /* backward computes element by element: where the shapes are one, one of diff_src may be
     * written over the gradient of dst */
    bool overwrites_diff;
    bool in_place; /* in an inference plan forward may write over src[0], where nobody needs it */
    bool is_view;  /* forward: dst is src[0]'s memory under another shape: nothing to run */
    tl_status (*create)(tl_build *build, tl_step *step, tl_error *err);
    tl_status (*bind)(tl_step *step, void *scratchpad, tl_error *err);
    /* Packs weights that were written since the last run; all steps of a plan do so before the
     * first one computes, when nothing of the arena is in use yet. */
    tl_status (*refresh)(tl_step *step, const tl_run *run, tl_error *err);
    tl_status (*forward)(tl_step *step, const tl_run *run, tl_error *err);
    /* Writes diff_src[i] where it is not NULL and diff_weights[i] where it is not NULL; both are
     * overwritten, never added to. */
    tl_status (*backward)(tl_step *step, const tl_run *run, tl_error *err);
    /* NULL: loops of our own do everything. */
    void (*kernels)(const tl_step *step, tl_kernels *out);
    void (*destroy)(tl_step *step);
} tl_op;

#define TL_DST (-1) /* of backward_reads */

/* How loops of our own are called in a profile. */
#define TL_OWN "tlfast"

struct tl_step {
    const tl_op *op;
    const tl_node *node; /* borrowed from the graph; NULL for a change of form */
    const char *name;    /* layer name, borrowed */
    int n_src;
    tl_tensor **src; /* borrowed from the plan, the array is owned */
    tl_tensor *dst;
    /* src and dst as backward reads them: the same tensors, or copies that were made again. */
    tl_tensor **kept_src; /* array owned */
    tl_tensor *kept_dst;
    const tl_step *repeats; /* in backward this step makes that one's result again; or NULL */
    tl_tensor **diff_src;   /* per source: where its gradient goes, or NULL; array owned */
    /* global_avg_pool: the product by channel of its source whose gradient it writes together with
     * its own; or NULL (plan/excite.c) */
    const tl_step *product;
    bool *accumulate; /* diff_src[i] is a temporary to be added to src[i]->diff; array owned */
    float *diff_weights[TL_MAX_WEIGHTS]; /* Keras layout, in the gradient region; NULL if frozen */
    bool wants_diff_weights[TL_MAX_WEIGHTS];
    bool training;       /* a backward pass will follow */
    bool has_activation; /* applied to dst; kind and alpha below */
    tl_activation activation;
    float alpha;
    /* Folded into a convolution, inference only: */
    const tl_node *folded_norm; /* batch norm, or NULL */
    bool adds_residual; /* dst starts as the residual (they share memory) and is added to */
    size_t work_bytes[TL_WORK_COUNT]; /* asked for in create */
    void *work[TL_WORK_COUNT];
    void *state; /* the op's own, freed by its destroy */
};

/* One oneDNN primitive with its arguments. Zero it before use. */
#define TL_MAX_ARGS 10
typedef struct tl_primitive {
    dnnl_primitive_t handle;
    int n_args;
    dnnl_exec_arg_t args[TL_MAX_ARGS]; /* memories owned */
    dnnl_memory_desc_t scratchpad_md;  /* owned */
    const char *impl;                  /* name of the implementation, oneDNN's own string */
} tl_primitive;

/* Makes the primitive of *pd and takes pd over, on failure too; notes its scratchpad. */
tl_status tl_primitive_create(tl_primitive *primitive, dnnl_primitive_desc_t pd, tl_build *build,
                              const char *name, tl_error *err);
/* Argument arg is the memory at data, laid out as md (borrowed). */
tl_status tl_primitive_bind(tl_primitive *primitive, int arg, const_dnnl_memory_desc_t md,
                            void *data, tl_error *err);
tl_status tl_primitive_bind_scratchpad(tl_primitive *primitive, void *scratchpad, tl_error *err);
tl_status tl_primitive_run(const tl_primitive *primitive, const tl_run *run, const char *name,
                           tl_error *err);
void tl_primitive_clear(tl_primitive *primitive);

/* An attribute object with a user scratchpad and strict float32 arithmetic, always; plus the
 * step's post-operations when it is given one. Owned by the caller. */
tl_status tl_attr_create(dnnl_primitive_attr_t *attr, const tl_step *post_ops_of, tl_error *err);

/* oneDNN's algorithm and parameters of an activation; false for softmax. */
bool tl_activation_eltwise(tl_activation kind, bool has_alpha, float alpha,
                           dnnl_alg_kind_t *algorithm, float *a, float *b);

/* Channels per block of TL_LAYOUT_BLOCKED on this machine. */
int tl_block(void);

/* What a tensor looks like in memory. */
typedef struct tl_form {
    tl_layout layout;
    tl_dtype dtype;
} tl_form;

/* A tensor of the given shape: fills md and bytes. */
tl_status tl_tensor_init(tl_tensor *tensor, int rank, const int64_t *dims, tl_form form, int block,
                         tl_error *err);
/* The same shape and form. */
tl_status tl_tensor_init_like(tl_tensor *tensor, const tl_tensor *like, int block, tl_error *err);
void tl_tensor_clear(tl_tensor *tensor);

dnnl_data_type_t tl_dnn_type(tl_dtype dtype);
/* How many numbers a tensor has in memory, padding included. */
int64_t tl_tensor_count(const tl_tensor *tensor);

/* Where number i of them is, and its value. */
static inline void *tl_tensor_at(const tl_tensor *tensor, int64_t i)
{
    return (char *)tensor->data + i * (int64_t)tl_dtype_bytes(tensor->dtype);
}

static inline float tl_tensor_get(const tl_tensor *tensor, int64_t i)
{
    if (tensor->dtype == TL_BF16)
        return tl_bf16_value(((const tl_bf16 *)tensor->data)[i]);
    return ((const float *)tensor->data)[i];
}

static inline void tl_tensor_set(const tl_tensor *tensor, int64_t i, float value)
{
    if (tensor->dtype == TL_BF16)
        ((tl_bf16 *)tensor->data)[i] = tl_bf16_round(value);
    else
        ((float *)tensor->data)[i] = value;
}

/* The usual takes_bf16. */
bool tl_takes_bf16(const tl_graph *graph, const tl_node *node, bool training);

/* Does the step's backward read its source k, its result? */
bool tl_backward_reads_src(const tl_step *step, int k);
bool tl_backward_reads_dst(const tl_step *step);

/* sum = a + b, of one form; sum may be a or b. */
void tl_tensor_add(const tl_tensor *sum, const tl_tensor *a, const tl_tensor *b);

/* The tensor whose memory this one uses. */
tl_tensor *tl_tensor_root(tl_tensor *tensor);

/* The usual choose of elementwise ops: everything keeps the layout of the first source. */
void tl_choose_same(const tl_graph *graph, const tl_node *node, tl_layout spatial, tl_layout *src,
                    tl_layout *dst);
/* The usual choose of windowed ops: everything in the plan's spatial layout. */
void tl_choose_spatial(const tl_graph *graph, const tl_node *node, tl_layout spatial,
                       tl_layout *src, tl_layout *dst);

/* How a rank-4 tensor (or any PLAIN one) is walked by channel: `outer` times (images of a blocked
 * tensor, else 1) there are `blocks` blocks of channels, each with `inner` positions of `width`
 * channels next to each other, `stride` numbers apart. PLAIN: one block of all channels. */
typedef struct tl_channels {
    int64_t outer, blocks, inner, width, stride;
    int64_t n; /* channels without padding */
} tl_channels;
tl_channels tl_tensor_channels(const tl_tensor *tensor);

/* NULL for kinds without an implementation. */
const tl_op *tl_op_find(tl_op_kind kind);

/* A batch norm by moving statistics in an inference plan; its sources are joined. */
extern const tl_op tl_op_norm_map;

/* The op of a change of form: src[0] and dst differ only in layout and type. */
extern const tl_op tl_op_reorder;

#define X(name) extern const tl_op tl_op_##name;
#include "graph/ops.def"
#undef X

#endif
