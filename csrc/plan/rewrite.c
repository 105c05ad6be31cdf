/* The plan's own copy of the nodes, with explicit paddings merged into the windows behind them and
 * joins of joins made one.
 * The user's graph is never changed. */
#include <string.h>

#include "base/alloc.h"
#include "plan/internal.h"

static tl_status copy_nodes(tl_plan *plan, tl_error *err)
{
    const tl_graph *graph = plan->graph;
    size_t n = (size_t)graph->n_nodes;
    TL_TRY(tl_calloc((void **)&plan->nodes, n, sizeof *plan->nodes, "a plan", err));
    TL_TRY(tl_calloc((void **)&plan->needed, n, sizeof(bool), "a plan", err));
    TL_TRY(tl_calloc((void **)&plan->needs_gradient, n, sizeof(bool), "a plan", err));
    TL_TRY(tl_calloc((void **)&plan->is_feed, n, sizeof(bool), "a plan", err));
    TL_TRY(tl_calloc((void **)&plan->n_uses, n, sizeof(int), "a plan", err));
    TL_TRY(tl_calloc((void **)&plan->dtypes, n, sizeof *plan->dtypes, "a plan", err));
    for (size_t i = 0; i < n; i++) {
        plan->nodes[i] = graph->nodes[i];
        plan->nodes[i].src = NULL;
        int n_src = graph->nodes[i].n_src;
        TL_TRY(tl_calloc((void **)&plan->nodes[i].src, (size_t)n_src, sizeof(int), "a plan", err));
        if (n_src > 0)
            memcpy(plan->nodes[i].src, graph->nodes[i].src, (size_t)n_src * sizeof(int));
    }
    return TL_OK;
}

static bool uses_trainable(const tl_plan *plan, const tl_node *node)
{
    for (int k = 0; k < TL_MAX_WEIGHTS; k++)
        for (int t = 0; node->weights[k] != NULL && t < plan->n_trainable; t++)
            if (plan->trainable[t] == node->weights[k])
                return true;
    return false;
}

/* Backwards from the outputs to the feeds; then forward: where gradients flow. */
static tl_status mark(tl_plan *plan, const tl_plan_spec *spec, tl_error *err)
{
    for (int i = 0; i < spec->n_feeds; i++)
        plan->is_feed[spec->feeds[i]] = true;
    memset(plan->n_uses, 0, (size_t)plan->graph->n_nodes * sizeof(int));
    memset(plan->needed, 0, (size_t)plan->graph->n_nodes * sizeof(bool));
    for (int i = 0; i < spec->n_outputs; i++) {
        plan->needed[spec->outputs[i]] = true;
        plan->n_uses[spec->outputs[i]]++;
    }
    for (int i = 0; i < spec->n_seeds; i++) {
        plan->needed[spec->seeds[i]] = true;
        plan->n_uses[spec->seeds[i]]++;
    }
    for (int v = plan->graph->n_nodes - 1; v >= 0; v--) {
        const tl_node *node = &plan->nodes[v];
        if (!plan->needed[v] || plan->is_feed[v])
            continue;
        if (node->kind == TL_OP_input)
            return tl_fail(err, TL_ARG, "input '%s' is needed but not fed", node->name);
        for (int k = 0; k < node->n_src; k++) {
            plan->needed[node->src[k]] = true;
            plan->n_uses[node->src[k]]++;
        }
    }
    for (int v = 0; v < plan->graph->n_nodes; v++) {
        const tl_node *node = &plan->nodes[v];
        bool flows = false;
        if (plan->needed[v] && !plan->is_feed[v]) {
            flows = uses_trainable(plan, node);
            for (int k = 0; k < node->n_src; k++)
                flows = flows || plan->needs_gradient[node->src[k]];
        }
        plan->needs_gradient[v] = flows;
    }
    return TL_OK;
}

static bool is_non_negative(const tl_plan *plan, int value)
{
    const tl_node *node = &plan->nodes[value];
    return node->kind == TL_OP_activation &&
           ((node->attrs.kind == TL_ACT_relu && !node->attrs.has_alpha) ||
            node->attrs.kind == TL_ACT_relu6);
}

/* May this window op take the padding over? Convolution kernels are fast up to half the window. A
 * max pool pads with -infinity where the layer pads with zeros: the same for values that are not
 * negative, as long as every window sees one of them. */
static bool takes_padding(const tl_plan *plan, const tl_node *node, const tl_node *pad)
{
    const int64_t *p = pad->attrs.pads, *own = node->attrs.pads;
    bool is_conv = node->kind == TL_OP_conv2d || node->kind == TL_OP_depthwise_conv2d;
    if (!is_conv && !(node->kind == TL_OP_max_pool2d && is_non_negative(plan, pad->src[0])))
        return false;
    for (int axis = 0; axis < 2; axis++) {
        int64_t window = is_conv
                             ? (node->weights[0]->dims[axis] - 1) * node->attrs.dilation[axis] + 1
                             : node->attrs.pool[axis];
        for (int side = 0; side < 2; side++)
            if (own[2 * axis + side] != 0 || p[2 * axis + side] > window / 2)
                return false;
    }
    return true;
}

static void fold_padding(tl_plan *plan, int value)
{
    const tl_node *pad = &plan->nodes[value];
    int takers = 0;
    for (int v = 0; v < plan->graph->n_nodes; v++)
        for (int k = 0; plan->needed[v] && !plan->is_feed[v] && k < plan->nodes[v].n_src; k++)
            if (plan->nodes[v].src[k] == value && takes_padding(plan, &plan->nodes[v], pad))
                takers++;
    if (takers != plan->n_uses[value]) /* somebody needs the padded image itself */
        return;
    for (int v = 0; v < plan->graph->n_nodes; v++)
        if (plan->needed[v] && plan->nodes[v].n_src == 1 && plan->nodes[v].src[0] == value) {
            plan->nodes[v].src[0] = pad->src[0];
            memcpy(plan->nodes[v].attrs.pads, pad->attrs.pads, sizeof pad->attrs.pads);
        }
}

static bool is_join(const tl_plan *plan, int value)
{
    return plan->nodes[value].kind == TL_OP_concat && !plan->is_feed[value];
}

/* A join reads what the joins in front of it read (those are flat already). DenseNet's blocks join
 * what they joined before with one more: flat, a single one can be made again in backward. */
static tl_status flatten_join(tl_plan *plan, int value, tl_error *err)
{
    tl_node *node = &plan->nodes[value];
    int n = 0, *src = NULL;
    for (int k = 0; k < node->n_src; k++)
        n += is_join(plan, node->src[k]) ? plan->nodes[node->src[k]].n_src : 1;
    if (n == node->n_src)
        return TL_OK;
    TL_TRY(tl_calloc((void **)&src, (size_t)n, sizeof *src, "a plan", err));
    n = 0;
    for (int k = 0; k < node->n_src; k++) {
        const tl_node *part = &plan->nodes[node->src[k]];
        bool joins = is_join(plan, node->src[k]);
        for (int i = 0; i < (joins ? part->n_src : 1); i++)
            src[n++] = joins ? part->src[i] : node->src[k];
    }
    tl_free(node->src);
    node->src = src;
    node->n_src = n;
    return TL_OK;
}

tl_status tl_plan_rewrite(tl_plan *plan, const tl_plan_spec *spec, tl_error *err)
{
    TL_TRY(copy_nodes(plan, err));
    TL_TRY(mark(plan, spec, err));
    for (int v = 0; v < plan->graph->n_nodes; v++)
        if (plan->needed[v] && !plan->is_feed[v] && plan->nodes[v].kind == TL_OP_zero_pad2d)
            fold_padding(plan, v);
    for (int v = 0; v < plan->graph->n_nodes; v++)
        if (is_join(plan, v))
            TL_TRY(flatten_join(plan, v, err));
    return mark(plan, spec, err); /* what was folded is not needed any more */
}
