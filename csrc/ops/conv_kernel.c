#include "ops/conv_kernel.h"

#include "kernels/winograd.h"

int tl_conv_role(const tl_step *step, int role)
{
    return role + (step->src[0]->dtype == TL_BF16 ? TL_ROLE_COUNT : 0);
}

bool tl_conv_is_depthwise(const tl_node *node)
{
    return node->kind == TL_OP_depthwise_conv2d;
}

int64_t tl_conv_groups(const tl_node *node)
{
    return tl_conv_is_depthwise(node) ? node->weights[0]->dims[2] : node->attrs.groups;
}

int64_t tl_conv_channels(const tl_node *node)
{
    const int64_t *k = node->weights[0]->dims;
    return tl_conv_is_depthwise(node) ? k[2] * k[3] : k[3];
}

static tl_pack_kind kernel_pack_kind(const tl_node *node)
{
    return tl_conv_is_depthwise(node) ? TL_PACK_DEPTHWISE : TL_PACK_KERNEL;
}

/* Asks for room in the arena for a kernel in the layout md and makes the change of layout between
 * there and Keras' order. */
static tl_status create_in_arena(tl_build *build, tl_step *step, const_dnnl_memory_desc_t md,
                                 bool from_arena, tl_conv_kernel *out, tl_error *err)
{
    tl_status status = TL_OK;
    const tl_node *node = step->node;
    dnnl_memory_desc_t keras = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    TL_DNN_GOTO(tl_dnn.memory_desc_clone(&out->md, md), step->name);
    TL_TRY_GOTO(
        tl_kernel_md(&keras, kernel_pack_kind(node), node->weights[0], tl_conv_groups(node), err));
    TL_TRY_GOTO(tl_attr_create(&attr, NULL, err));
    TL_DNN_GOTO(tl_dnn.reorder_primitive_desc_create(&pd, from_arena ? md : keras, tl_dnn.engine,
                                                     from_arena ? keras : md, tl_dnn.engine, attr),
                step->name);
    TL_TRY_GOTO(tl_primitive_create(&out->reorder, pd, build, step->name, err));
    size_t bytes = tl_dnn.memory_desc_get_size(md);
    if (bytes > step->work_bytes[out->work])
        step->work_bytes[out->work] = bytes;
fail:
    if (keras != NULL)
        tl_dnn.memory_desc_destroy(keras);
    if (attr != NULL)
        tl_dnn.primitive_attr_destroy(attr);
    return status;
}

tl_status tl_conv_kernel_create(tl_build *build, tl_step *step, const_dnnl_memory_desc_t md,
                                int role, tl_conv_kernel *out, tl_error *err)
{
    const tl_node *node = step->node;
    bool is_forward = role == TL_ROLE_FORWARD;
    tl_pack_kind kind = is_forward ? TL_PACK_WINOGRAD : TL_PACK_WINOGRAD_TRANSPOSED;
    out->is_winograd = md == NULL;
    out->work = is_forward ? TL_WORK_FORWARD : TL_WORK_BACKWARD;
    if (step->wants_diff_weights[0])
        return md != NULL ? create_in_arena(build, step, md, false, out, err) : TL_OK;
    if (md != NULL) { /* one that plans of both types do not share */
        kind = kernel_pack_kind(node);
        role = tl_conv_role(step, role);
    }
    return tl_pool_get(build->pool, kind, node->weights[0], NULL,
                       is_forward ? step->folded_norm : NULL, role, tl_conv_channels(node),
                       tl_conv_groups(node), md, &out->pack, err);
}

tl_status tl_conv_diff_kernel_create(tl_build *build, tl_step *step, const_dnnl_memory_desc_t md,
                                     tl_conv_kernel *out, tl_error *err)
{
    out->work = TL_WORK_BACKWARD;
    return create_in_arena(build, step, md, true, out, err);
}

static tl_status bind_in_arena(tl_step *step, bool from_arena, tl_conv_kernel *kernel,
                               void *scratchpad, tl_error *err)
{
    tl_status status = TL_OK;
    const tl_node *node = step->node;
    dnnl_memory_desc_t keras = NULL;
    int arena_arg = from_arena ? DNNL_ARG_SRC : DNNL_ARG_DST;
    int keras_arg = from_arena ? DNNL_ARG_DST : DNNL_ARG_SRC;
    void *values = from_arena ? step->diff_weights[0] : node->weights[0]->data;
    TL_TRY(
        tl_kernel_md(&keras, kernel_pack_kind(node), node->weights[0], tl_conv_groups(node), err));
    TL_TRY_GOTO(
        tl_primitive_bind(&kernel->reorder, arena_arg, kernel->md, step->work[kernel->work], err));
    TL_TRY_GOTO(tl_primitive_bind(&kernel->reorder, keras_arg, keras, values, err));
    TL_TRY_GOTO(tl_primitive_bind_scratchpad(&kernel->reorder, scratchpad, err));
fail:
    tl_dnn.memory_desc_destroy(keras);
    return status;
}

tl_status tl_conv_kernel_bind(tl_step *step, tl_conv_kernel *kernel, tl_primitive *reader,
                              void *scratchpad, tl_error *err)
{
    if (kernel->pack != NULL)
        return tl_primitive_bind(reader, DNNL_ARG_WEIGHTS, kernel->pack->md, kernel->pack->data,
                                 err);
    TL_TRY(bind_in_arena(step, false, kernel, scratchpad, err));
    return tl_primitive_bind(reader, DNNL_ARG_WEIGHTS, kernel->md, step->work[kernel->work], err);
}

tl_status tl_conv_diff_kernel_bind(tl_step *step, tl_conv_kernel *kernel, tl_primitive *writer,
                                   void *scratchpad, tl_error *err)
{
    TL_TRY(tl_primitive_bind(writer, DNNL_ARG_DIFF_WEIGHTS, kernel->md, step->work[kernel->work],
                             err));
    if (!step->wants_diff_weights[0])
        return TL_OK;
    return bind_in_arena(step, true, kernel, scratchpad, err);
}

tl_status tl_conv_kernel_run(const tl_conv_kernel *kernel, const tl_step *step, const tl_run *run,
                             tl_error *err)
{
    const tl_variable *from = step->node->weights[0];
    float *to = step->work[kernel->work];
    if (kernel->pack != NULL)
        return TL_OK;
    if (!kernel->is_winograd)
        return tl_primitive_run(&kernel->reorder, run, step->name, err);
    if (kernel->work == TL_WORK_FORWARD)
        tl_winograd_pack(from->data, NULL, from->dims[2], from->dims[3], to);
    else
        tl_winograd_pack_transposed(from->data, from->dims[2], from->dims[3], to);
    return TL_OK;
}

const float *tl_conv_kernel_values(const tl_conv_kernel *kernel, const tl_step *step)
{
    return kernel->pack != NULL ? kernel->pack->data : step->work[kernel->work];
}

void tl_conv_kernel_clear(tl_conv_kernel *kernel)
{
    tl_primitive_clear(&kernel->reorder);
    if (kernel->md != NULL)
        tl_dnn.memory_desc_destroy(kernel->md);
}
