#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/kernels.h"
#include "ops/step.h"

tl_status tl_primitive_create(tl_primitive *primitive, dnnl_primitive_desc_t pd, tl_build *build,
                              const char *name, tl_error *err)
{
    tl_status status = TL_OK;
    char what[256];
    snprintf(what, sizeof what, "making a primitive for layer '%s'", name);
    TL_DNN_GOTO(tl_dnn.primitive_create(&primitive->handle, pd), what);
    const_dnnl_memory_desc_t md = tl_dnn.primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    size_t bytes = md != NULL ? tl_dnn.memory_desc_get_size(md) : 0;
    if (bytes != 0) {
        TL_DNN_GOTO(tl_dnn.memory_desc_clone(&primitive->scratchpad_md, md), what);
        if (bytes > build->scratchpad_bytes)
            build->scratchpad_bytes = bytes;
    }
    TL_DNN_GOTO(tl_dnn.primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &primitive->impl),
                what);
fail:
    tl_dnn.primitive_desc_destroy(pd);
    return status;
}

tl_status tl_primitive_bind(tl_primitive *primitive, int arg, const_dnnl_memory_desc_t md,
                            void *data, tl_error *err)
{
    if (primitive->n_args == TL_MAX_ARGS)
        return tl_fail(err, TL_DNN, "a primitive with more than %d arguments", TL_MAX_ARGS);
    dnnl_memory_t memory = NULL;
    dnnl_status_t made = tl_dnn.memory_create(&memory, md, tl_dnn.engine, data);
    if (made != dnnl_success)
        return tl_dnn_fail(err, made, "binding memory");
    primitive->args[primitive->n_args].arg = arg;
    primitive->args[primitive->n_args].memory = memory;
    primitive->n_args++;
    return TL_OK;
}

tl_status tl_primitive_bind_scratchpad(tl_primitive *primitive, void *scratchpad, tl_error *err)
{
    if (primitive->scratchpad_md == NULL)
        return TL_OK;
    return tl_primitive_bind(primitive, DNNL_ARG_SCRATCHPAD, primitive->scratchpad_md, scratchpad,
                             err);
}

tl_status tl_primitive_run(const tl_primitive *primitive, const tl_run *run, const char *name,
                           tl_error *err)
{
    dnnl_status_t done = tl_dnn.primitive_execute(primitive->handle, run->stream,
                                                  primitive->n_args, primitive->args);
    if (done == dnnl_success)
        return TL_OK;
    char what[256];
    snprintf(what, sizeof what, "running layer '%s'", name);
    return tl_dnn_fail(err, done, what);
}

void tl_primitive_clear(tl_primitive *primitive)
{
    for (int i = 0; i < primitive->n_args; i++)
        tl_dnn.memory_destroy(primitive->args[i].memory);
    if (primitive->scratchpad_md != NULL)
        tl_dnn.memory_desc_destroy(primitive->scratchpad_md);
    if (primitive->handle != NULL)
        tl_dnn.primitive_destroy(primitive->handle);
    memset(primitive, 0, sizeof *primitive);
}

bool tl_activation_eltwise(tl_activation kind, bool has_alpha, float alpha,
                           dnnl_alg_kind_t *algorithm, float *a, float *b)
{
    switch (kind) {
#define X(name, alg, default_alpha, beta)                                                         \
    case TL_ACT_##name:                                                                           \
        *algorithm = (alg);                                                                       \
        *a = has_alpha ? alpha : (default_alpha);                                                 \
        *b = (beta);                                                                              \
        return true;
#include "graph/activation.def"
#undef X
        default:
            return false;
    }
}

/* The sum comes first: the kernels add the residual to the convolution, then activate. */
static tl_status append_post_ops(dnnl_post_ops_t ops, const tl_step *step, tl_error *err)
{
    tl_status status = TL_OK;
    if (step->adds_residual)
        TL_DNN_GOTO(tl_dnn.post_ops_append_sum(ops, 1.f, 0, dnnl_data_type_undef),
                    "fusing a residual sum");
    dnnl_alg_kind_t algorithm;
    float a, b;
    if (step->has_activation &&
        tl_activation_eltwise(step->activation, true, step->alpha, &algorithm, &a, &b))
        TL_DNN_GOTO(tl_dnn.post_ops_append_eltwise(ops, algorithm, a, b), "fusing an activation");
fail:
    return status;
}

tl_status tl_attr_create(dnnl_primitive_attr_t *attr, const tl_step *post_ops_of, tl_error *err)
{
    tl_status status = TL_OK;
    dnnl_primitive_attr_t made = NULL;
    dnnl_post_ops_t ops = NULL;
    TL_DNN_GOTO(tl_dnn.primitive_attr_create(&made), "making an attribute");
    TL_DNN_GOTO(tl_dnn.primitive_attr_set_scratchpad_mode(made, dnnl_scratchpad_mode_user),
                "setting the scratchpad mode");
    TL_DNN_GOTO(tl_dnn.primitive_attr_set_fpmath_mode(made, dnnl_fpmath_mode_strict),
                "setting strict arithmetic");
    if (post_ops_of != NULL) {
        TL_DNN_GOTO(tl_dnn.post_ops_create(&ops), "fusing");
        TL_TRY_GOTO(append_post_ops(ops, post_ops_of, err));
        TL_DNN_GOTO(tl_dnn.primitive_attr_set_post_ops(made, ops), "fusing");
    }
    *attr = made;
    made = NULL;
fail:
    if (ops != NULL)
        tl_dnn.post_ops_destroy(ops);
    if (made != NULL)
        tl_dnn.primitive_attr_destroy(made);
    return status;
}

/* ---- tensors ---- */

static dnnl_format_tag_t tag_of(tl_layout layout, int block)
{
    switch (layout) {
        case TL_LAYOUT_NCHW:
            return dnnl_nchw;
        case TL_LAYOUT_BLOCKED:
            return block == 16 ? dnnl_nChw16c : dnnl_nChw8c;
        default:
            return dnnl_nhwc;
    }
}

int tl_block(void)
{
    return tl_kernel_isa() == TL_ISA_AVX512 ? 16 : 8;
}

dnnl_data_type_t tl_dnn_type(tl_dtype dtype)
{
    return dtype == TL_BF16 ? dnnl_bf16 : dnnl_f32;
}

tl_status tl_tensor_init(tl_tensor *tensor, int rank, const int64_t *dims, tl_form form, int block,
                         tl_error *err)
{
    tensor->rank = rank;
    memcpy(tensor->dims, dims, (size_t)rank * sizeof *dims);
    tensor->layout = form.layout;
    tensor->dtype = form.dtype;
    tensor->block = form.layout == TL_LAYOUT_BLOCKED ? block : 1;
    dnnl_data_type_t type = tl_dnn_type(form.dtype);
    dnnl_status_t made;
    if (rank == 4) {
        dnnl_dims_t nchw = {dims[0], dims[3], dims[1], dims[2]};
        made = tl_dnn.memory_desc_create_with_tag(&tensor->md, 4, nchw, type,
                                                  tag_of(form.layout, block));
    } else {
        dnnl_dims_t shape = {0}, strides = {0};
        int64_t stride = 1;
        for (int i = rank - 1; i >= 0; i--) {
            shape[i] = dims[i];
            strides[i] = stride;
            stride *= dims[i];
        }
        made = tl_dnn.memory_desc_create_with_strides(&tensor->md, rank, shape, type, strides);
    }
    if (made != dnnl_success)
        return tl_dnn_fail(err, made, "describing a tensor");
    tensor->bytes = tl_dnn.memory_desc_get_size(tensor->md);
    return TL_OK;
}

tl_status tl_tensor_init_like(tl_tensor *tensor, const tl_tensor *like, int block, tl_error *err)
{
    tl_form form = {like->layout, like->dtype};
    return tl_tensor_init(tensor, like->rank, like->dims, form, block, err);
}

int64_t tl_tensor_count(const tl_tensor *tensor)
{
    return (int64_t)(tensor->bytes / tl_dtype_bytes(tensor->dtype));
}

bool tl_takes_bf16(const tl_graph *graph, const tl_node *node, bool training)
{
    (void)graph, (void)node, (void)training;
    return true;
}

void tl_tensor_clear(tl_tensor *tensor)
{
    if (tensor->md != NULL)
        tl_dnn.memory_desc_destroy(tensor->md);
    tensor->md = NULL;
}

void tl_choose_same(const tl_graph *graph, const tl_node *node, tl_layout spatial, tl_layout *src,
                    tl_layout *dst)
{
    (void)graph, (void)node, (void)spatial;
    *dst = *src;
}

void tl_choose_spatial(const tl_graph *graph, const tl_node *node, tl_layout spatial,
                       tl_layout *src, tl_layout *dst)
{
    (void)graph, (void)node;
    *src = *dst = spatial;
}

tl_channels tl_tensor_channels(const tl_tensor *tensor)
{
    int64_t n = tensor->dims[tensor->rank - 1];
    int64_t size = tl_shape_size(tensor->rank, tensor->dims);
    if (tensor->layout == TL_LAYOUT_BLOCKED) {
        int64_t b = tensor->block;
        return (tl_channels){
            tensor->dims[0], (n + b - 1) / b, tensor->dims[1] * tensor->dims[2], b, b, n};
    }
    if (tensor->layout == TL_LAYOUT_NCHW)
        return (tl_channels){tensor->dims[0], n, tensor->dims[1] * tensor->dims[2], 1, 1, n};
    return (tl_channels){1, 1, size / n, n, n, n};
}

bool tl_backward_reads_src(const tl_step *step, int k)
{
    const tl_op *op = step->op;
    return op->backward_reads != NULL ? op->backward_reads(step, k) : op->backward_reads_src;
}

bool tl_backward_reads_dst(const tl_step *step)
{
    const tl_op *op = step->op;
    return op->backward_reads != NULL ? op->backward_reads(step, TL_DST) : op->backward_reads_dst;
}

tl_tensor *tl_tensor_root(tl_tensor *tensor)
{
    while (tensor->alias != NULL)
        tensor = tensor->alias;
    return tensor;
}

/* ---- change of form ---- */

typedef struct reorder_state {
    tl_primitive forward, backward;
} reorder_state;

static tl_status create_one(tl_primitive *primitive, const tl_tensor *from, const tl_tensor *to,
                            tl_build *build, const char *name, tl_error *err)
{
    tl_status status = TL_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    TL_TRY_GOTO(tl_attr_create(&attr, NULL, err));
    TL_DNN_GOTO(tl_dnn.reorder_primitive_desc_create(&pd, from->md, tl_dnn.engine, to->md,
                                                     tl_dnn.engine, attr),
                name);
    TL_TRY_GOTO(tl_primitive_create(primitive, pd, build, name, err));
fail:
    if (attr != NULL)
        tl_dnn.primitive_attr_destroy(attr);
    return status;
}

static tl_status reorder_create(tl_build *build, tl_step *step, tl_error *err)
{
    TL_TRY(tl_calloc(&step->state, 1, sizeof(reorder_state), "a change of form", err));
    reorder_state *state = step->state;
    TL_TRY(create_one(&state->forward, step->src[0], step->dst, build, step->name, err));
    if (step->training)
        TL_TRY(create_one(&state->backward, step->dst, step->src[0], build, step->name, err));
    return TL_OK;
}

static tl_status bind_one(tl_primitive *primitive, const tl_tensor *from, const tl_tensor *to,
                          void *scratchpad, tl_error *err)
{
    TL_TRY(tl_primitive_bind(primitive, DNNL_ARG_SRC, from->md, from->data, err));
    TL_TRY(tl_primitive_bind(primitive, DNNL_ARG_DST, to->md, to->data, err));
    return tl_primitive_bind_scratchpad(primitive, scratchpad, err);
}

static tl_status reorder_bind(tl_step *step, void *scratchpad, tl_error *err)
{
    reorder_state *state = step->state;
    TL_TRY(bind_one(&state->forward, step->src[0], step->dst, scratchpad, err));
    if (step->training && step->diff_src[0] != NULL)
        TL_TRY(bind_one(&state->backward, step->dst->diff, step->diff_src[0], scratchpad, err));
    return TL_OK;
}

static tl_status reorder_forward(tl_step *step, const tl_run *run, tl_error *err)
{
    return tl_primitive_run(&((reorder_state *)step->state)->forward, run, step->name, err);
}

static tl_status reorder_backward(tl_step *step, const tl_run *run, tl_error *err)
{
    if (step->diff_src[0] == NULL)
        return TL_OK;
    return tl_primitive_run(&((reorder_state *)step->state)->backward, run, step->name, err);
}

static void reorder_kernels(const tl_step *step, tl_kernels *out)
{
    const reorder_state *state = step->state;
    *out = (tl_kernels){state->forward.impl, state->backward.impl, NULL};
}

static void reorder_destroy(tl_step *step)
{
    reorder_state *state = step->state;
    if (state == NULL)
        return;
    tl_primitive_clear(&state->forward);
    tl_primitive_clear(&state->backward);
    tl_free(state);
}

const tl_op tl_op_reorder = {
    .create = reorder_create,
    .bind = reorder_bind,
    .forward = reorder_forward,
    .backward = reorder_backward,
    .kernels = reorder_kernels,
    .destroy = reorder_destroy,
};
