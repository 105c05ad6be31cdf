/* Nodes -> steps: which nodes one step does together, which form (layout and type) each value has,
 * where a change of form stands in between. */
#include <string.h>

#include "base/alloc.h"
#include "kernels/kernels.h"
#include "plan/internal.h"

tl_status tl_plan_new_tensor(tl_plan *plan, tl_tensor **out, tl_error *err)
{
    if (plan->n_tensors == plan->cap_tensors) {
        int cap = plan->cap_tensors == 0 ? 256 : 2 * plan->cap_tensors;
        TL_TRY(tl_realloc((void **)&plan->tensors, (size_t)cap, sizeof *plan->tensors,
                          "a plan's tensors", err));
        plan->cap_tensors = cap;
    }
    TL_TRY(tl_calloc((void **)out, 1, sizeof **out, "a tensor", err));
    (*out)->first = -1;
    plan->tensors[plan->n_tensors++] = *out;
    return TL_OK;
}

static tl_tensor **tensor_slot(const tl_plan *plan, int value, tl_form form)
{
    int type = value * 2 + (form.dtype == TL_BF16);
    return &plan->by_value[type * TL_LAYOUT_COUNT + (int)form.layout];
}

static tl_status value_tensor(tl_plan *plan, int value, tl_form form, tl_tensor **out,
                              tl_error *err)
{
    const tl_value *v = &plan->graph->values[value];
    tl_tensor *tensor = NULL;
    TL_TRY(tl_plan_new_tensor(plan, &tensor, err));
    TL_TRY(tl_tensor_init(tensor, v->rank, v->dims, form, plan->build.block, err));
    tensor->needs_gradient = plan->needs_gradient[value];
    *tensor_slot(plan, value, form) = tensor;
    *out = tensor;
    return TL_OK;
}

static tl_status new_step(tl_plan *plan, const tl_op *op, const tl_node *node, const char *name,
                          int n_src, tl_step **out, tl_error *err)
{
    if (plan->n_steps == plan->cap_steps) {
        int cap = plan->cap_steps == 0 ? 256 : 2 * plan->cap_steps;
        TL_TRY(tl_realloc((void **)&plan->steps, (size_t)cap, sizeof *plan->steps,
                          "a plan's steps", err));
        plan->cap_steps = cap;
    }
    tl_step *step = &plan->steps[plan->n_steps];
    memset(step, 0, sizeof *step);
    step->op = op;
    step->node = node;
    step->name = name;
    step->n_src = n_src;
    plan->n_steps++; /* from here on tl_plan_destroy clears it */
    size_t n = (size_t)n_src;
    TL_TRY(tl_calloc((void **)&step->src, n, sizeof *step->src, "a step", err));
    TL_TRY(tl_calloc((void **)&step->kept_src, n, sizeof *step->kept_src, "a step", err));
    TL_TRY(tl_calloc((void **)&step->diff_src, n, sizeof *step->diff_src, "a step", err));
    TL_TRY(tl_calloc((void **)&step->accumulate, n, sizeof *step->accumulate, "a step", err));
    *out = step;
    return TL_OK;
}

/* The value in the wanted form; a change of form is inserted on first demand. */
static tl_status demand(tl_plan *plan, int value, tl_form form, tl_tensor **out, tl_error *err)
{
    if (plan->graph->values[value].rank != 4)
        form.layout = TL_LAYOUT_PLAIN;
    *out = *tensor_slot(plan, value, form);
    if (*out != NULL)
        return TL_OK;
    tl_tensor *from = plan->primary[value];
    TL_TRY(value_tensor(plan, value, form, out, err));
    tl_step *step = NULL;
    TL_TRY(new_step(plan, &tl_op_reorder, NULL, plan->nodes[value].name, 1, &step, err));
    step->src[0] = from;
    step->dst = *out;
    step->training = plan->needs_gradient[value];
    return TL_OK;
}

/* ---- what a convolution of an inference plan takes along ---- */

/* The only reader of value, if it has just one and that is a node; -1 otherwise. */
static int only_reader(const tl_plan *plan, int value)
{
    if (plan->n_uses[value] != 1)
        return -1;
    for (int v = value + 1; v < plan->graph->n_nodes; v++)
        for (int k = 0; plan->needed[v] && !plan->is_feed[v] && k < plan->nodes[v].n_src; k++)
            if (plan->nodes[v].src[k] == value)
                return v;
    return -1;
}

/* Is every reader of value but `sum` before `node` in the order of execution, and none of them a
 * view of its memory? (`node` itself must not read what it writes over.) */
static bool dies_in(const tl_plan *plan, int value, int sum, int node)
{
    int readers = 0;
    for (int v = 0; v < plan->graph->n_nodes; v++)
        for (int k = 0; plan->needed[v] && !plan->is_feed[v] && k < plan->nodes[v].n_src; k++)
            if (plan->nodes[v].src[k] == value) {
                readers++;
                if ((v != sum && v >= node) || tl_op_find(plan->nodes[v].kind)->is_view)
                    return false;
            }
    if (tl_op_find(plan->nodes[value].kind)->is_view)
        return false;
    return readers == plan->n_uses[value]; /* else it is an output too */
}

typedef struct group {
    const tl_node *norm, *activation; /* of a convolution or a join: the norm behind it */
    int residual;                     /* value added, or -1 */
    int sum;                          /* the node that adds it, or -1 */
    int dst;                          /* value the whole group makes */
} group;

static group alone(int value)
{
    return (group){.residual = -1, .sum = -1, .dst = value};
}

/* swish has a loop of its own, faster than what oneDNN puts behind a convolution. */
static bool fuses_activation(const tl_node *node)
{
    return node->kind == TL_OP_activation && node->attrs.kind != TL_ACT_softmax &&
           node->attrs.kind != TL_ACT_swish;
}

/* The only reader of value if it may be done by the convolution's step: without a gradient, and of
 * the same type, which a layer may choose for itself. */
static int next_of(const tl_plan *plan, int value, int conv)
{
    int next = only_reader(plan, value);
    return next >= 0 && !plan->needs_gradient[next] && plan->dtypes[next] == plan->dtypes[conv]
               ? next
               : -1;
}

/* What node adds to value: one value of its shape and the type, which is made before; -1 if node
 * is no such sum. */
static int added_to(const tl_plan *plan, int value, int node, tl_dtype dtype)
{
    const tl_node *sum = &plan->nodes[node];
    if (sum->kind != TL_OP_add || sum->n_src != 2)
        return -1;
    int other = sum->src[0] == value ? sum->src[1] : sum->src[0];
    const tl_value *values = plan->graph->values;
    const tl_tensor *t = plan->primary[other];
    return other != value && t != NULL && t->dtype == dtype &&
                   tl_same_shape(&values[value], &values[other])
               ? other
               : -1;
}

static group find_behind_convolution(const tl_plan *plan, int conv, tl_dtype dtype)
{
    group g = alone(conv);
    int next = next_of(plan, g.dst, conv);
    if (next >= 0 && plan->nodes[next].kind == TL_OP_batch_norm &&
        !plan->nodes[next].attrs.training) {
        g.norm = &plan->nodes[next];
        g.dst = next;
        next = next_of(plan, g.dst, conv);
    }
    int residual = next >= 0 ? added_to(plan, g.dst, next, dtype) : -1;
    if (residual >= 0 && !plan->is_feed[residual] && dies_in(plan, residual, next, conv)) {
        g.residual = residual;
        g.sum = g.dst = next;
        next = next_of(plan, g.dst, conv);
    }
    if (next >= 0 && fuses_activation(&plan->nodes[next])) {
        g.activation = &plan->nodes[next];
        g.dst = next;
    }
    return g;
}

/* Is the node a fixed map per channel of an inference plan? */
static bool maps(const tl_plan *plan, int value)
{
    return plan->n_trainable == 0 && plan->nodes[value].kind == TL_OP_batch_norm &&
           !plan->nodes[value].attrs.training;
}

static bool clips(const tl_attrs *activation)
{
    return activation->kind == TL_ACT_relu6 ||
           (activation->kind == TL_ACT_relu &&
            (!activation->has_alpha || activation->alpha == 0.f));
}

/* A batch norm with the ReLU or ReLU6 behind it, or with the swish where it has a backward pass,
 * which needs no more than without. */
static group find_activated_norm(const tl_plan *plan, int norm)
{
    group g = alone(norm);
    int next = only_reader(plan, norm);
    if (next < 0 || plan->nodes[next].kind != TL_OP_activation ||
        plan->dtypes[next] != plan->dtypes[norm])
        return g;
    const tl_attrs *a = &plan->nodes[next].attrs;
    if (clips(a) ||
        (a->kind == TL_ACT_swish && (!a->has_alpha || a->alpha == 1.f) && !maps(plan, norm))) {
        g.activation = &plan->nodes[next];
        g.dst = next;
    }
    return g;
}

/* A batch norm, the sum of its result and one that is there before it, and the ReLU or ReLU6
 * behind that, in a plan that trains: the end of a residual block. Without the ReLU little is won.
 */
static group find_residual_norm(const tl_plan *plan, int norm)
{
    int sum = only_reader(plan, norm), last = sum >= 0 ? only_reader(plan, sum) : -1;
    int residual = sum >= 0 ? added_to(plan, norm, sum, plan->dtypes[norm]) : -1;
    if (maps(plan, norm) || residual < 0 || last < 0 ||
        plan->nodes[last].kind != TL_OP_activation || !clips(&plan->nodes[last].attrs) ||
        plan->dtypes[last] != plan->dtypes[norm] ||
        plan->needs_gradient[norm] != plan->needs_gradient[last])
        return find_activated_norm(plan, norm);
    return (group){
        .activation = &plan->nodes[last], .residual = residual, .sum = sum, .dst = last};
}

/* A join that only such a norm reads: one step does both. */
static group find_joined_norm(const tl_plan *plan, int join)
{
    int norm = only_reader(plan, join);
    if (norm < 0 || !maps(plan, norm) || plan->dtypes[norm] != plan->dtypes[join])
        return alone(join);
    group g = find_activated_norm(plan, norm);
    g.norm = &plan->nodes[norm];
    return g;
}

/* ---- steps ---- */

/* The type of the sources of a node's step. */
static tl_dtype computes_in(const tl_plan *plan, int value)
{
    const tl_node *node = &plan->nodes[value];
    const tl_op *op = tl_op_find(node->kind);
    if (node->dtype != TL_BF16 || op->takes_bf16 == NULL ||
        !op->takes_bf16(plan->graph, node, plan->needs_gradient[value]))
        return TL_F32;
    return op->starts_bf16 ? TL_BF16 : plan->dtypes[node->src[0]];
}

/* For all values of the graph, so that one has the same type on both sides of a cut. */
static tl_status choose_types(tl_plan *plan, tl_error *err)
{
    for (int v = 0; v < plan->graph->n_nodes; v++) {
        const tl_node *node = &plan->nodes[v];
        if (node->kind == TL_OP_input)
            continue;
        tl_dtype dtype = computes_in(plan, v);
        if (dtype == TL_BF16 && !tl_has_bf16())
            return tl_fail(err, TL_UNSUPPORTED,
                           "layer '%s': this machine has no instructions for bfloat16 "
                           "(AVX512-BF16 or AMX) and would emulate them slower than float32; "
                           "model.compile(..., precision=\"float32\") gives all layers the policy "
                           "\"float32\"",
                           node->name);
        plan->dtypes[v] = tl_op_find(node->kind)->makes_f32 ? TL_F32 : dtype;
    }
    return TL_OK;
}

static tl_layout spatial_layout(const tl_plan *plan)
{
    /* AVX2: blocked is 1.1 to 1.2 times faster than nhwc in both directions (measured on
     * ResNet50, MobileNetV2, EfficientNetB0); AVX-512: nhwc for inference, blocked for training.
     */
    return plan->n_trainable > 0 || plan->build.block == 8 ? TL_LAYOUT_BLOCKED : TL_LAYOUT_PLAIN;
}

/* May the result take the memory of the first source? */
static bool writes_over(const tl_plan *plan, const tl_op *op, const tl_node *node,
                        const tl_step *step)
{
    int value = node->src[0];
    for (int k = 1; k < node->n_src; k++)
        if (node->src[k] == value)
            return false;
    return op->in_place && plan->n_trainable == 0 && !plan->is_feed[value] &&
           plan->primary[value] == step->src[0] && step->src[0]->layout == step->dst->layout &&
           step->src[0]->bytes == step->dst->bytes && dies_in(plan, value, node->dst, node->dst);
}

/* What the step of a node with a result of the type does beside it. */
static group find_group(const tl_plan *plan, int value, tl_dtype dtype)
{
    switch (plan->nodes[value].kind) {
        case TL_OP_conv2d:
        case TL_OP_depthwise_conv2d:
            return plan->needs_gradient[value] ? alone(value)
                                               : find_behind_convolution(plan, value, dtype);
        case TL_OP_batch_norm:
            return find_residual_norm(plan, value);
        case TL_OP_concat:
            return find_joined_norm(plan, value);
        default:
            return alone(value);
    }
}

static void choose_forms(const tl_plan *plan, int value, tl_form *src, tl_form *dst)
{
    const tl_node *node = &plan->nodes[value];
    const tl_op *op = tl_op_find(node->kind);
    *src = (tl_form){TL_LAYOUT_PLAIN, computes_in(plan, value)};
    *dst = (tl_form){TL_LAYOUT_PLAIN, plan->dtypes[value]};
    if (op->choose != NULL && plan->graph->values[node->src[0]].rank == 4) {
        src->layout = plan->primary[node->src[0]]->layout;
        op->choose(plan->graph, node, spatial_layout(plan), &src->layout, &dst->layout);
    }
    if (plan->graph->values[value].rank != 4)
        dst->layout = TL_LAYOUT_PLAIN;
}

static void take_activation(tl_step *step, const tl_node *activation)
{
    const tl_attrs *a = &activation->attrs;
    dnnl_alg_kind_t algorithm;
    float beta;
    step->has_activation = true;
    step->activation = a->kind;
    tl_activation_eltwise(a->kind, a->has_alpha, a->alpha, &algorithm, &step->alpha, &beta);
}

static void mark_done(bool *done, int value, const group *g)
{
    done[value] = true;
    if (g->norm != NULL)
        done[g->norm->dst] = true;
    if (g->sum >= 0)
        done[g->sum] = true;
    if (g->activation != NULL)
        done[g->activation->dst] = true;
}

static tl_status add_step(tl_plan *plan, int value, bool *done, tl_error *err)
{
    const tl_node *node = &plan->nodes[value];
    const tl_op *op = tl_op_find(node->kind);
    tl_form src, dst;
    choose_forms(plan, value, &src, &dst);
    group g = find_group(plan, value, dst.dtype);
    for (int k = 0; k < node->n_src; k++) { /* changes of form come before the step itself */
        tl_tensor *unused;
        TL_TRY(demand(plan, node->src[k], src, &unused, err));
    }
    tl_tensor *residual = NULL; /* in the form of the result */
    if (g.residual >= 0)
        TL_TRY(demand(plan, g.residual, dst, &residual, err));
    bool reads_residual = residual != NULL && node->kind == TL_OP_batch_norm;
    bool joins_norm = node->kind == TL_OP_concat && g.norm != NULL;
    const tl_node *named = joins_norm ? g.norm : node;
    tl_step *step = NULL;
    TL_TRY(new_step(plan, maps(plan, named->dst) ? &tl_op_norm_map : op, named, named->name,
                    node->n_src + reads_residual, &step, err));
    for (int k = 0; k < node->n_src; k++)
        TL_TRY(demand(plan, node->src[k], src, &step->src[k], err));
    if (reads_residual)
        step->src[node->n_src] = residual;
    TL_TRY(value_tensor(plan, g.dst, dst, &step->dst, err));
    plan->primary[g.dst] = step->dst;
    step->training = plan->needs_gradient[value];
    step->folded_norm = g.norm;
    step->adds_residual = residual != NULL && !reads_residual;
    if (g.activation != NULL)
        take_activation(step, g.activation);
    if (step->adds_residual)
        step->dst->alias = residual;
    else if (op->is_view || writes_over(plan, op, node, step))
        step->dst->alias = step->src[0];
    mark_done(done, value, &g);
    return TL_OK;
}

static tl_status add_feeds_and_nodes(tl_plan *plan, bool *done, tl_error *err)
{
    for (int v = 0; v < plan->graph->n_nodes; v++) {
        if (!plan->needed[v] || done[v])
            continue;
        if (plan->is_feed[v])
            TL_TRY(value_tensor(plan, v, (tl_form){TL_LAYOUT_PLAIN, plan->dtypes[v]},
                                &plan->primary[v], err));
        else
            TL_TRY(add_step(plan, v, done, err));
    }
    return TL_OK;
}

static tl_status new_list(tl_tensor ***list, int n, tl_error *err)
{
    return tl_calloc((void **)list, (size_t)n, sizeof **list, "a plan", err);
}

tl_status tl_plan_make_steps(tl_plan *plan, const tl_plan_spec *spec, tl_error *err)
{
    int n = plan->graph->n_nodes;
    bool *done = NULL;
    tl_status status = TL_OK;
    const tl_form plain = {TL_LAYOUT_PLAIN, TL_F32};
    TL_TRY(new_list(&plan->by_value, n * 2 * TL_LAYOUT_COUNT, err));
    TL_TRY(new_list(&plan->primary, n, err));
    TL_TRY(new_list(&plan->feeds, spec->n_feeds, err));
    TL_TRY(new_list(&plan->outputs, spec->n_outputs, err));
    TL_TRY(new_list(&plan->seeds, spec->n_seeds, err));
    TL_TRY(tl_calloc((void **)&done, (size_t)n, sizeof *done, "a plan", err));
    TL_TRY_GOTO(choose_types(plan, err));
    TL_TRY_GOTO(add_feeds_and_nodes(plan, done, err));
    for (int i = 0; i < spec->n_feeds; i++)
        plan->feeds[i] = plan->primary[spec->feeds[i]]; /* NULL: nothing reads it */
    for (int i = 0; i < spec->n_outputs; i++)
        TL_TRY_GOTO(demand(plan, spec->outputs[i], plain, &plan->outputs[i], err));
    for (int i = 0; i < spec->n_seeds; i++)
        TL_TRY_GOTO(demand(plan, spec->seeds[i], plain, &plan->seeds[i], err));
    TL_TRY_GOTO(new_list(&plan->work, plan->n_steps * TL_WORK_COUNT, err));
    plan->n_feeds = spec->n_feeds;
    plan->n_outputs = spec->n_outputs;
    plan->n_seeds = spec->n_seeds;
fail:
    tl_free(done);
    return status;
}
