#include "plan.h"

#include <string.h>

#include "base/alloc.h"
#include "base/compute.h"
#include "base/os.h"
#include "ops/norm.h"
#include "plan/internal.h"

static int find_trainable(const tl_plan *plan, const tl_variable *variable)
{
    for (int i = 0; variable != NULL && i < plan->n_trainable; i++)
        if (plan->trainable[i] == variable)
            return i;
    return -1;
}

/* ---- gradients ---- */

static tl_status copy_tensor_shape(tl_plan *plan, const tl_tensor *like, tl_tensor **out,
                                   tl_error *err)
{
    TL_TRY(tl_plan_new_tensor(plan, out, err));
    return tl_tensor_init_like(*out, like, plan->build.block, err);
}

/* The last step before `i` that reads tensor: the next one to add to its gradient; -1 for none. */
static int reader_before(const tl_plan *plan, const tl_tensor *tensor, int i)
{
    for (int j = i - 1; j >= 0; j--)
        for (int k = 0; k < plan->steps[j].n_src; k++)
            if (plan->steps[j].src[k] == tensor)
                return j;
    return -1;
}

int tl_plan_producer(const tl_plan *plan, const tl_tensor *tensor)
{
    for (int j = 0; j < plan->n_steps; j++)
        if (plan->steps[j].dst == tensor)
            return j;
    return -1;
}

/* May the gradient of src live in the memory of step i's diff_dst? Not if somebody would add to it
 * while another gradient there is still to be read. Backward runs from high steps to low ones. */
static bool may_share(const tl_plan *plan, int i, const tl_tensor *src)
{
    const tl_tensor *dst = plan->steps[i].dst;
    int writer = reader_before(plan, src, i), producer = tl_plan_producer(plan, src), n_reads = 0;
    for (int k = 0; k < plan->steps[i].n_src; k++)
        n_reads += plan->steps[i].src[k] == src;
    if (n_reads > 1) /* x + x: dy is read again after it was written over */
        return false;
    for (int t = 0; t < plan->n_tensors; t++) {
        const tl_tensor *other = plan->tensors[t];
        if (other->diff == NULL || other == dst ||
            tl_tensor_root(other->diff) != tl_tensor_root(dst->diff))
            continue;
        int other_writer = reader_before(plan, other, i);
        if ((writer >= 0 && writer >= tl_plan_producer(plan, other)) ||
            (other_writer >= 0 && other_writer >= producer))
            return false;
    }
    return true;
}

/* May step i's backward write over the gradient of its result? Not while another one that lives in
 * the same memory is still to be read: those of tensors made by earlier steps. */
static bool may_overwrite(const tl_plan *plan, int i)
{
    const tl_tensor *dst = plan->steps[i].dst;
    for (int t = 0; t < plan->n_tensors; t++) {
        const tl_tensor *other = plan->tensors[t];
        if (other->diff != NULL && other != dst &&
            tl_tensor_root(other->diff) == tl_tensor_root(dst->diff) &&
            tl_plan_producer(plan, other) < i)
            return false;
    }
    return true;
}

static bool same_shape(const tl_tensor *a, const tl_tensor *b)
{
    return a->layout == b->layout && a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

static tl_status make_diff_src(tl_plan *plan, int i, int k, tl_error *err)
{
    tl_step *step = &plan->steps[i];
    tl_tensor *src = step->src[k], *diff = NULL;
    bool passes = step->op->passes_diff && same_shape(src, step->dst);
    step->accumulate[k] = src->diff != NULL;
    if ((passes || step->op->adds_diff) && src->diff != NULL) {
        step->diff_src[k] = src->diff;
        return TL_OK;
    }
    TL_TRY(copy_tensor_shape(plan, src, &diff, err));
    step->diff_src[k] = diff;
    if (step->op->overwrites_diff && same_shape(src, step->dst) && may_overwrite(plan, i))
        diff->alias = step->dst->diff;
    if (src->diff != NULL)
        return TL_OK;
    if (passes && may_share(plan, i, src))
        diff->alias = step->dst->diff;
    src->diff = diff;
    return TL_OK;
}

/* Backwards through the steps: the first that reaches a tensor's gradient writes it, later ones
 * write a temporary that is added. */
static tl_status make_gradient_tensors(tl_plan *plan, tl_error *err)
{
    for (int i = 0; plan->n_trainable > 0 && i < plan->n_seeds; i++)
        if (plan->seeds[i]->diff == NULL)
            TL_TRY(copy_tensor_shape(plan, plan->seeds[i], &plan->seeds[i]->diff, err));
    for (int i = plan->n_steps - 1; i >= 0; i--) {
        tl_step *step = &plan->steps[i];
        if (!step->training)
            continue;
        if (step->dst->diff == NULL) { /* nothing behind it leads to a seed */
            step->training = false;
            continue;
        }
        for (int k = 0; k < step->n_src; k++)
            if (step->src[k]->needs_gradient)
                TL_TRY(make_diff_src(plan, i, k, err));
    }
    return TL_OK;
}

static tl_status make_gradient_region(tl_plan *plan, tl_error *err)
{
    int n_uses = 0;
    size_t floats = 0;
    for (int i = 0; i < plan->n_steps; i++)
        for (int k = 0; plan->steps[i].node != NULL && k < TL_MAX_WEIGHTS; k++)
            if (plan->steps[i].training &&
                find_trainable(plan, plan->steps[i].node->weights[k]) >= 0) {
                n_uses++;
                floats += (plan->steps[i].node->weights[k]->size + 15) / 16 * 16;
            }
    TL_TRY(tl_calloc((void **)&plan->gradients, (size_t)n_uses, sizeof *plan->gradients,
                     "gradients", err));
    TL_TRY(tl_calloc((void **)&plan->first_gradient, (size_t)plan->n_trainable, sizeof(int),
                     "gradients", err));
    plan->gradient_bytes = floats * sizeof(float);
    TL_TRY(tl_os_map(&plan->gradient_region, plan->gradient_bytes, "gradients", err));
    for (int t = 0; t < plan->n_trainable; t++)
        plan->first_gradient[t] = -1;
    float *at = plan->gradient_region;
    for (int i = 0; i < plan->n_steps; i++) {
        tl_step *step = &plan->steps[i];
        for (int k = 0; step->node != NULL && step->training && k < TL_MAX_WEIGHTS; k++) {
            int t = find_trainable(plan, step->node->weights[k]);
            if (t < 0)
                continue;
            tl_gradient *g = &plan->gradients[plan->n_gradients];
            *g = (tl_gradient){at, t, plan->trainable[t]->size};
            if (plan->first_gradient[t] < 0)
                plan->first_gradient[t] = plan->n_gradients;
            plan->n_gradients++;
            step->diff_weights[k] = at;
            step->wants_diff_weights[k] = true;
            at += (g->size + 15) / 16 * 16;
        }
    }
    return TL_OK;
}

/* ---- creation ---- */

static tl_status retain_trainable(tl_plan *plan, const tl_plan_spec *spec, tl_error *err)
{
    TL_TRY(tl_calloc((void **)&plan->trainable, (size_t)spec->n_trainable, sizeof(tl_variable *),
                     "a plan", err));
    for (int i = 0; i < spec->n_trainable; i++) {
        tl_variable_retain(spec->trainable[i]);
        plan->trainable[plan->n_trainable++] = spec->trainable[i];
    }
    return TL_OK;
}

static tl_status create_steps(tl_plan *plan, tl_error *err)
{
    for (int i = 0; i < plan->n_steps; i++) {
        tl_step *step = &plan->steps[i];
        if (step->op->create != NULL)
            TL_TRY(step->op->create(&plan->build, step, err));
        for (int k = 0; k < TL_WORK_COUNT; k++)
            if (step->work_bytes[k] > 0) {
                tl_tensor **work = &plan->work[i * TL_WORK_COUNT + k];
                TL_TRY(tl_plan_new_tensor(plan, work, err));
                (*work)->bytes = step->work_bytes[k];
            }
    }
    for (int i = 0; i < plan->n_repeats; i++)
        if (plan->repeats[i].step.op->create != NULL)
            TL_TRY(plan->repeats[i].step.op->create(&plan->build, &plan->repeats[i].step, err));
    return TL_OK;
}

/* Networks repeat their convolutions: within a plan, equal ones share the code made for them. */
static tl_status create_primitives(tl_plan *plan, tl_error *err)
{
    tl_dnn.set_primitive_cache_capacity(1 << 10);
    tl_status status = create_steps(plan, err);
    tl_dnn.set_primitive_cache_capacity(0); /* plans hold their primitives */
    return status;
}

/* What backward reads: at first, what forward wrote. */
static void keep_everything(tl_plan *plan)
{
    for (int i = 0; i < plan->n_steps; i++) {
        tl_step *step = &plan->steps[i];
        memcpy(step->kept_src, step->src, (size_t)step->n_src * sizeof *step->src);
        step->kept_dst = step->dst;
    }
}

static tl_status bind_steps(tl_plan *plan, tl_error *err)
{
    void *scratchpad = (char *)plan->arena + plan->scratchpad_at;
    for (int i = 0; i < plan->n_repeats; i++)
        if (plan->repeats[i].step.op->bind != NULL)
            TL_TRY(plan->repeats[i].step.op->bind(&plan->repeats[i].step, scratchpad, err));
    for (int i = 0; i < plan->n_steps; i++)
        if (plan->steps[i].op->bind != NULL)
            TL_TRY(plan->steps[i].op->bind(&plan->steps[i], scratchpad, err));
    return TL_OK;
}

static tl_status create(tl_plan *plan, const tl_plan_spec *spec, tl_error *err)
{
    tl_status status = TL_OK;
    plan->graph = spec->graph;
    plan->repeat_from = spec->repeat_from;
    tl_pool_retain(spec->pool);
    plan->pool = spec->pool;
    plan->n_threads = tl_compute_team();
    plan->build = (tl_build){
        .graph = plan->graph,
        .pool = plan->pool,
        .n_threads = plan->n_threads,
        .block = tl_block(),
    };
    TL_TRY(retain_trainable(plan, spec, err));
    TL_TRY(tl_plan_rewrite(plan, spec, err));
    TL_TRY(tl_plan_make_steps(plan, spec, err));
    TL_TRY(make_gradient_tensors(plan, err));
    TL_TRY(make_gradient_region(plan, err));
    tl_plan_join_products(plan);
    keep_everything(plan);
    TL_TRY(tl_plan_choose_repeats(plan, err));
    TL_TRY(create_primitives(plan, err));
    TL_TRY(tl_plan_place(plan, err));
    TL_TRY(bind_steps(plan, err));
    TL_DNN_GOTO(tl_dnn.stream_create(&plan->stream, tl_dnn.engine, dnnl_stream_in_order),
                "making a stream");
    plan->run.stream = plan->stream;
    plan->run.pool = plan->pool;
fail:
    return status;
}

tl_status tl_plan_create(tl_plan **out, const tl_plan_spec *spec, tl_error *err)
{
    tl_plan *plan = NULL;
    TL_TRY(tl_calloc((void **)&plan, 1, sizeof *plan, "a plan", err));
    tl_status status = create(plan, spec, err);
    if (status != TL_OK) {
        tl_plan_destroy(plan);
        return status;
    }
    *out = plan;
    return TL_OK;
}

static void clear_step(tl_step *step)
{
    if (step->op->destroy != NULL)
        step->op->destroy(step);
    tl_free(step->src);
    tl_free(step->kept_src);
    tl_free(step->diff_src);
    tl_free(step->accumulate);
}

void tl_plan_destroy(tl_plan *plan)
{
    if (plan == NULL)
        return;
    for (int i = 0; i < plan->n_steps; i++)
        clear_step(&plan->steps[i]);
    for (int i = 0; i < plan->n_repeats; i++)
        clear_step(&plan->repeats[i].step);
    for (int i = 0; i < plan->n_tensors; i++) {
        tl_tensor_clear(plan->tensors[i]);
        tl_free(plan->tensors[i]);
    }
    for (int i = 0; plan->nodes != NULL && i < plan->graph->n_nodes; i++)
        tl_free(plan->nodes[i].src);
    for (int i = 0; i < plan->n_trainable; i++)
        tl_variable_release(plan->trainable[i]);
    void *lists[] = {
        plan->nodes,          plan->needed,  plan->needs_gradient, plan->is_feed, plan->n_uses,
        plan->steps,          plan->tensors, plan->by_value,       plan->primary, plan->feeds,
        plan->outputs,        plan->seeds,   plan->trainable,      plan->work,    plan->gradients,
        plan->first_gradient, plan->repeats, plan->backward_time,  plan->seconds, plan->dtypes};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        tl_free(lists[i]);
    if (plan->stream != NULL)
        tl_dnn.stream_destroy(plan->stream);
    tl_os_unmap(plan->gradient_region, plan->gradient_bytes);
    tl_pool_release(plan->pool);
    tl_free(plan);
}

/* ---- running ---- */

#define BLOCK ((int64_t)1 << 14) /* floats a thread copies or adds at a time */

static void copy_feed(tl_tensor *tensor, const tl_feed *feed)
{
    int64_t n = tl_shape_size(tensor->rank, tensor->dims);
    const unsigned char *bytes = feed->data;
    const float *floats = feed->data;
    if (feed->dtype == TL_F32 && tensor->dtype == TL_F32) {
#pragma omp parallel for schedule(static) if (n > BLOCK)
        for (int64_t at = 0; at < n; at += BLOCK)
            memcpy(tl_tensor_at(tensor, at), floats + at,
                   (size_t)(n - at < BLOCK ? n - at : BLOCK) * sizeof(float));
        return;
    }
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        tl_tensor_set(tensor, i, feed->dtype == TL_U8 ? (float)bytes[i] : floats[i]);
}

static tl_status check_cancelled(const tl_plan *plan, int i, tl_error *err)
{
    tl_compute_rest();
    if (!tl_compute_cancelled())
        return TL_OK;
    return tl_fail(err, TL_CANCELLED, "cancelled before layer '%s'", plan->steps[i].name);
}

tl_status tl_plan_forward(tl_plan *plan, const tl_feed *feeds, float *const *outputs,
                          uint64_t seed, tl_error *err)
{
    TL_TRY(tl_compute_check_team(plan->n_threads, err));
    TL_TRY(tl_plan_commit(plan, err));
    plan->run.seed = seed;
    plan->n_measured++;
    /* Before packing: a kernel that no loss reaches is trainable and in the pool all the same. */
    tl_pool_discard(plan->pool, plan->trainable, plan->n_trainable);
    for (int i = 0; i < plan->n_steps; i++) {
        if (plan->steps[i].op->refresh == NULL)
            continue;
        TL_TRY(check_cancelled(plan, i, err));
        TL_TRY(plan->steps[i].op->refresh(&plan->steps[i], &plan->run, err));
    }
    for (int i = 0; i < plan->n_feeds; i++)
        if (plan->feeds[i] != NULL)
            copy_feed(plan->feeds[i], &feeds[i]);
    for (int i = 0; i < plan->n_steps; i++) {
        TL_TRY(check_cancelled(plan, i, err));
        double start = tl_plan_clock(plan);
        if (plan->steps[i].op->forward != NULL)
            TL_TRY(plan->steps[i].op->forward(&plan->steps[i], &plan->run, err));
        tl_plan_add_time(plan, i, false, start);
    }
    for (int i = 0; outputs != NULL && i < plan->n_outputs; i++)
        if (outputs[i] != NULL)
            memcpy(outputs[i], plan->outputs[i]->data, plan->outputs[i]->bytes);
    return TL_OK;
}

const float *tl_plan_output(const tl_plan *plan, int i)
{
    return plan->outputs[i]->data;
}

float *tl_plan_seed(const tl_plan *plan, int i)
{
    return plan->seeds[i]->diff != NULL ? plan->seeds[i]->diff->data : NULL;
}

void tl_plan_seed_shape(const tl_plan *plan, int i, int64_t *rows, int64_t *n)
{
    const tl_tensor *seed = plan->seeds[i];
    *n = seed->dims[seed->rank - 1];
    *rows = tl_shape_size(seed->rank, seed->dims) / *n;
}

const float *tl_plan_seed_value(const tl_plan *plan, int i)
{
    return plan->seeds[i]->data;
}

static void add_gradient(const tl_gradient *sum, const tl_gradient *more)
{
    tl_tensor to = {.dtype = TL_F32, .data = sum->data, .bytes = sum->size * sizeof(float)};
    tl_tensor from = {.dtype = TL_F32, .data = more->data};
    tl_tensor_add(&to, &to, &from);
}

/* Makes again what step i is the first of the backward pass to read; what others are made of
 * comes first. */
static tl_status run_repeats(tl_plan *plan, int i, tl_error *err)
{
    for (int r = plan->n_repeats - 1; r >= 0; r--)
        if (plan->repeats[r].before == i) {
            tl_step *step = &plan->repeats[r].step;
            TL_TRY(check_cancelled(plan, i, err));
            double start = tl_plan_clock(plan);
            TL_TRY(step->op->forward(step, &plan->run, err));
            tl_plan_add_time(plan, (int)(step->repeats - plan->steps), true, start);
        }
    return TL_OK;
}

tl_status tl_plan_backward(tl_plan *plan, tl_error *err)
{
    for (int i = plan->n_steps - 1; i >= 0; i--) {
        tl_step *step = &plan->steps[i];
        if (!step->training)
            continue;
        TL_TRY(check_cancelled(plan, i, err));
        TL_TRY(run_repeats(plan, i, err));
        double start = tl_plan_clock(plan);
        if (step->op->backward == NULL)
            return tl_fail(err, TL_UNSUPPORTED, "layer '%s': no gradient for %s", step->name,
                           tl_op_name(step->node->kind));
        TL_TRY(step->op->backward(step, &plan->run, err));
        for (int k = 0; k < step->n_src; k++)
            if (step->accumulate[k] && step->diff_src[k] != step->src[k]->diff)
                tl_tensor_add(step->src[k]->diff, step->src[k]->diff, step->diff_src[k]);
        tl_plan_add_time(plan, i, true, start);
    }
    for (int g = 0; g < plan->n_gradients; g++) { /* a variable used twice: sum its gradients */
        int first = plan->first_gradient[plan->gradients[g].trainable];
        if (first != g)
            add_gradient(&plan->gradients[first], &plan->gradients[g]);
    }
    return TL_OK;
}

tl_variable *tl_plan_trainable(const tl_plan *plan, int i)
{
    return plan->trainable[i];
}

float *tl_plan_gradient(const tl_plan *plan, int i)
{
    return plan->first_gradient[i] < 0 ? NULL : plan->gradients[plan->first_gradient[i]].data;
}

void tl_plan_update_statistics(tl_plan *plan)
{
    for (int i = 0; i < plan->n_steps; i++) {
        const tl_node *node = plan->steps[i].node;
        if (node != NULL && node->kind == TL_OP_batch_norm && node->attrs.training)
            tl_norm_update_moving(&plan->steps[i]);
    }
}

size_t tl_plan_arena_bytes(const tl_plan *plan)
{
    return plan->arena_bytes;
}

size_t tl_plan_gradient_bytes(const tl_plan *plan)
{
    return plan->gradient_bytes;
}

int tl_plan_n_steps(const tl_plan *plan)
{
    return plan->n_steps;
}

const tl_step *tl_plan_step(const tl_plan *plan, int i)
{
    return &plan->steps[i];
}
