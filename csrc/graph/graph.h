/* What to compute: a list of nodes, each making one value from earlier values and variables. The
 * list order is an order of execution. Shapes are concrete (batch included), in Keras' axis order.
 * A graph is built by one thread, then only read. */
#ifndef TL_GRAPH_GRAPH_H
#define TL_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"
#include "graph/variable.h"

#define TL_MAX_WEIGHTS 4

typedef enum tl_op_kind {
#define X(name) TL_OP_##name,
#include "graph/ops.def"
#undef X
    TL_OP_COUNT
} tl_op_kind;

typedef enum tl_activation {
#define X(name, algorithm, alpha, beta) TL_ACT_##name,
#include "graph/activation.def"
#undef X
    TL_ACT_softmax,
    TL_ACT_COUNT
} tl_activation;

typedef enum tl_fill { TL_FILL_reflect, TL_FILL_wrap, TL_FILL_constant, TL_FILL_nearest } tl_fill;

/* The attributes of all ops in one struct; each op reads its own. */
typedef struct tl_attrs {
    int64_t strides[2], dilation[2], pool[2]; /* rows, columns */
    int64_t pads[4];                          /* top, bottom, left, right */
    int64_t groups;
    tl_activation kind;
    float alpha;
    bool has_alpha;
    float epsilon, momentum;
    bool training;              /* batch_norm: use and update batch statistics */
    int64_t shape[TL_MAX_RANK]; /* reshape: the target, batch included */
    int shape_rank;
    float rate; /* dropout */
    uint64_t seed;
    bool per_sample;
    float *scale, *shift; /* scale_shift: n_channels each, owned by the node */
    int n_channels;
    bool reverse_channels;
    bool flip_horizontal, flip_vertical, flip_together; /* random_affine */
    float rotation[2], zoom_h[2], zoom_w[2];            /* turns; fractions */
    bool zoom_same;                                     /* width zooms with height */
    tl_fill fill_mode;
    float fill_value;
    bool nearest;
} tl_attrs;

typedef struct tl_value {
    int producer; /* node */
    int rank;
    int64_t dims[TL_MAX_RANK]; /* Keras order: (N, H, W, C) or (N, C) ... */
} tl_value;

typedef struct tl_node {
    tl_op_kind kind;
    char *name; /* owned */
    int n_src;
    int *src;                             /* values, owned */
    int dst;                              /* value */
    tl_variable *weights[TL_MAX_WEIGHTS]; /* retained; NULL where absent */
    tl_attrs attrs;
    tl_dtype dtype; /* TL_BF16: may be computed in it, where the plan finds that possible */
} tl_node;

typedef struct tl_graph {
    int64_t batch;
    tl_dtype dtype; /* of the nodes added from now on */
    int n_nodes, cap_nodes;
    tl_node *nodes; /* node i makes value i: one value per node */
    tl_value *values;
} tl_graph;

/* Fills dst->rank and dst->dims from the node's sources and attributes, or says what is wrong. */
typedef tl_status (*tl_shape_fn)(const tl_graph *graph, const tl_node *node, tl_value *dst,
                                 tl_error *err);

tl_status tl_graph_create(tl_graph **out, int64_t batch, tl_error *err);
void tl_graph_destroy(tl_graph *graph); /* NULL is fine */

/* An external value of the given shape (batch excluded). *value is its number. */
tl_status tl_graph_input(tl_graph *graph, int rank, const int64_t *dims, const char *name,
                         int *value, tl_error *err);

/* Appends a node; infer is its op's shape function. name, src and weights are copied (variables
 * retained); attrs->scale and shift are taken over, on failure too. */
tl_status tl_graph_add(tl_graph *graph, tl_op_kind kind, tl_shape_fn infer, const char *name,
                       int n_src, const int64_t *src, int n_weights, tl_variable *const *weights,
                       const tl_attrs *attrs, int *value, tl_error *err);

/* Marks (in `in_prefix`, one flag per value) every value that is a pure function of the inputs:
 * no trainable variable, no randomness and no batch statistics on the way to it. */
void tl_graph_mark_prefix(const tl_graph *graph, tl_variable *const *trainable, int n_trainable,
                          bool *in_prefix);

/* Sum of the versions of all variables that the given values depend on: it grows when one of them
 * is written. `reached` is scratch, one flag per value; it holds what the values depend on
 * afterwards. */
uint64_t tl_graph_version(const tl_graph *graph, const int *values, int n, bool *reached);

const char *tl_op_name(tl_op_kind kind);
const char *tl_activation_name(tl_activation kind);

/* Elements of a shape; shapes in a graph are checked to fit. */
int64_t tl_shape_size(int rank, const int64_t *dims);

bool tl_same_shape(const tl_value *a, const tl_value *b);

/* "(2, 224, 224, 3)" into text; returns text. */
const char *tl_shape_text(int rank, const int64_t *dims, char *text, size_t bytes);

#endif
