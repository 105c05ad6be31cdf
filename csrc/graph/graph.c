#include "graph.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/* Largest element count of one value: byte offsets of float32 stay far inside int64, and
 * oneDNN 3.2 has 32-bit offsets in places (reference: fixed upstream in 3.7 to 3.9). */
#define MAX_ELEMENTS ((int64_t)1 << 31)

static const char *const op_names[] = {
#define X(name) #name,
#include "graph/ops.def"
#undef X
};

static const char *const activation_names[] = {
#define X(name, algorithm, alpha, beta) #name,
#include "graph/activation.def"
#undef X
    "softmax",
};

const char *tl_op_name(tl_op_kind kind)
{
    return op_names[kind];
}

const char *tl_activation_name(tl_activation kind)
{
    return activation_names[kind];
}

bool tl_same_shape(const tl_value *a, const tl_value *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

int64_t tl_shape_size(int rank, const int64_t *dims)
{
    int64_t size = 1;
    for (int i = 0; i < rank; i++)
        size *= dims[i];
    return size;
}

const char *tl_shape_text(int rank, const int64_t *dims, char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "(");
    for (int i = 0; i < rank && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, i + 1 < rank ? "%lld, " : "%lld",
                                 (long long)dims[i]);
    if (used < bytes)
        snprintf(text + used, bytes - used, rank == 1 ? ",)" : ")");
    return text;
}

tl_status tl_graph_create(tl_graph **out, int64_t batch, tl_error *err)
{
    if (batch < 1)
        return tl_fail(err, TL_ARG, "a graph for a batch of %lld; allowed: 1 or more",
                       (long long)batch);
    tl_graph *graph = NULL;
    TL_TRY(tl_calloc((void **)&graph, 1, sizeof *graph, "a graph", err));
    graph->batch = batch;
    *out = graph;
    return TL_OK;
}

static void clear_node(tl_node *node)
{
    tl_free(node->name);
    tl_free(node->src);
    tl_free(node->attrs.scale);
    tl_free(node->attrs.shift);
    for (int i = 0; i < TL_MAX_WEIGHTS; i++)
        tl_variable_release(node->weights[i]);
}

void tl_graph_destroy(tl_graph *graph)
{
    if (graph == NULL)
        return;
    for (int i = 0; i < graph->n_nodes; i++)
        clear_node(&graph->nodes[i]);
    tl_free(graph->nodes);
    tl_free(graph->values);
    tl_free(graph);
}

static tl_status reserve_node(tl_graph *graph, tl_error *err)
{
    if (graph->n_nodes < graph->cap_nodes)
        return TL_OK;
    int cap = graph->cap_nodes == 0 ? 64 : 2 * graph->cap_nodes;
    TL_TRY(
        tl_realloc((void **)&graph->nodes, (size_t)cap, sizeof *graph->nodes, "graph nodes", err));
    TL_TRY(tl_realloc((void **)&graph->values, (size_t)cap, sizeof *graph->values, "graph values",
                      err));
    graph->cap_nodes = cap;
    return TL_OK;
}

static tl_status check_shape(const char *name, const tl_value *value, tl_error *err)
{
    char text[128];
    int64_t size = 1;
    for (int i = 0; i < value->rank; i++) {
        if (value->dims[i] < 1 || size > MAX_ELEMENTS / value->dims[i])
            return tl_fail(err, TL_SHAPE,
                           "layer '%s': output shape %s; every dimension must be at least 1 and "
                           "the whole at most 2^31 elements (a smaller image or batch helps)",
                           name, tl_shape_text(value->rank, value->dims, text, sizeof text));
        size *= value->dims[i];
    }
    return TL_OK;
}

/* Numbers of a window that no image can need: shape functions may add and multiply the others. */
static tl_status check_window(const char *name, const tl_attrs *a, tl_error *err)
{
    const int64_t numbers[] = {a->strides[0], a->strides[1], a->dilation[0], a->dilation[1],
                               a->pool[0],    a->pool[1],    a->pads[0],     a->pads[1],
                               a->pads[2],    a->pads[3],    a->groups};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i] > MAX_ELEMENTS || numbers[i] < -MAX_ELEMENTS)
            return tl_fail(err, TL_ARG,
                           "layer '%s': strides, dilation, pool size, padding or groups of %lld; "
                           "allowed: up to 2^31",
                           name, (long long)numbers[i]);
    return TL_OK;
}

tl_status tl_graph_add(tl_graph *graph, tl_op_kind kind, tl_shape_fn infer, const char *name,
                       int n_src, const int64_t *src, int n_weights, tl_variable *const *weights,
                       const tl_attrs *attrs, int *value, tl_error *err)
{
    tl_node node = {.kind = kind, .n_src = n_src, .attrs = *attrs, .dtype = graph->dtype};
    tl_value dst = {.producer = graph->n_nodes};
    tl_status status = TL_OK;
    for (int i = 0; i < n_src; i++)
        if (src[i] < 0 || src[i] >= graph->n_nodes) {
            status = tl_fail(err, TL_ARG, "layer '%s': input %lld is not a value of this graph",
                             name, (long long)src[i]);
            goto fail;
        }
    TL_TRY_GOTO(check_window(name, attrs, err));
    TL_TRY_GOTO(reserve_node(graph, err));
    TL_TRY_GOTO(tl_calloc((void **)&node.name, strlen(name) + 1, 1, "a node's name", err));
    memcpy(node.name, name, strlen(name));
    TL_TRY_GOTO(tl_calloc((void **)&node.src, (size_t)n_src, sizeof(int), "a node", err));
    for (int i = 0; i < n_src; i++)
        node.src[i] = (int)src[i];
    for (int i = 0; i < n_weights; i++)
        if (weights[i] != NULL) {
            tl_variable_retain(weights[i]);
            node.weights[i] = weights[i];
        }
    TL_TRY_GOTO(infer(graph, &node, &dst, err));
    TL_TRY_GOTO(check_shape(name, &dst, err));
    node.dst = graph->n_nodes;
    graph->nodes[graph->n_nodes] = node;
    graph->values[graph->n_nodes] = dst;
    *value = graph->n_nodes++;
    return TL_OK;
fail:
    clear_node(&node);
    return status;
}

tl_status tl_graph_input(tl_graph *graph, int rank, const int64_t *dims, const char *name,
                         int *value, tl_error *err)
{
    if (rank < 0 || rank > TL_MAX_RANK - 1)
        return tl_fail(err, TL_SHAPE, "input '%s' has %d dimensions; allowed: up to %d", name,
                       rank, TL_MAX_RANK - 1);
    TL_TRY(reserve_node(graph, err));
    tl_node node = {.kind = TL_OP_input, .dst = graph->n_nodes};
    tl_value dst = {.producer = graph->n_nodes, .rank = rank + 1};
    dst.dims[0] = graph->batch;
    memcpy(dst.dims + 1, dims, (size_t)rank * sizeof *dims);
    TL_TRY(check_shape(name, &dst, err));
    TL_TRY(tl_calloc((void **)&node.name, strlen(name) + 1, 1, "an input's name", err));
    memcpy(node.name, name, strlen(name));
    graph->nodes[graph->n_nodes] = node;
    graph->values[graph->n_nodes] = dst;
    *value = graph->n_nodes++;
    return TL_OK;
}

static bool is_trainable(const tl_node *node, tl_variable *const *trainable, int n_trainable)
{
    for (int i = 0; i < TL_MAX_WEIGHTS; i++)
        for (int k = 0; node->weights[i] != NULL && k < n_trainable; k++)
            if (trainable[k] == node->weights[i])
                return true;
    return false;
}

void tl_graph_mark_prefix(const tl_graph *graph, tl_variable *const *trainable, int n_trainable,
                          bool *in_prefix)
{
    for (int i = 0; i < graph->n_nodes; i++) {
        const tl_node *node = &graph->nodes[i];
        bool pure = node->kind != TL_OP_dropout && node->kind != TL_OP_random_affine &&
                    !(node->kind == TL_OP_batch_norm && node->attrs.training) &&
                    !is_trainable(node, trainable, n_trainable);
        for (int k = 0; k < node->n_src; k++)
            pure = pure && in_prefix[node->src[k]];
        in_prefix[i] = pure;
    }
}

uint64_t tl_graph_version(const tl_graph *graph, const int *values, int n, bool *reached)
{
    uint64_t version = 0;
    for (int i = 0; i < graph->n_nodes; i++)
        reached[i] = false;
    for (int i = 0; i < n; i++)
        reached[values[i]] = true;
    for (int i = graph->n_nodes - 1; i >= 0; i--) {
        const tl_node *node = &graph->nodes[i];
        for (int k = 0; reached[i] && k < node->n_src; k++)
            reached[node->src[k]] = true;
        for (int k = 0; reached[i] && k < TL_MAX_WEIGHTS; k++)
            if (node->weights[k] != NULL)
                version += atomic_load(&node->weights[k]->version);
    }
    return version;
}
