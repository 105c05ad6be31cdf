/* conv2d and depthwise_conv2d: oneDNN's direct convolution, or Winograd's where that is faster. In
 * an inference plan a batch norm is folded into the weights, a residual sum and an activation into
 * post-operations. */
#include <string.h>

#include "base/alloc.h"
#include "ops/conv_kernel.h"
#include "ops/depthwise.h"
#include "ops/step.h"
#include "ops/winograd.h"

typedef struct conv_state {
    tl_primitive forward, backward_data, backward_weights; /* not where a loop of ours runs */
    tl_conv_kernel kernel, kernel_backward; /* as forward and backward data read it */
    tl_conv_kernel diff_kernel;             /* its gradient */
    tl_pack *bias;                          /* borrowed from the pool, or NULL */
    /* What backward data writes instead of diff_src[0] where windows leave out the last columns;
     * md NULL elsewhere. It stands in TL_WORK_BACKWARD, this far behind its beginning. */
    tl_tensor read_part;
    size_t read_part_at;
    /* The gradients of the weights by a loop of ours, or NULL for the primitive. */
    void (*backward_weights_loop)(const tl_step *step);
} conv_state;

static int64_t out_size(int64_t in, int64_t before, int64_t after, int64_t kernel, int64_t stride,
                        int64_t dilation)
{
    int64_t room = in + before + after - ((kernel - 1) * dilation + 1);
    return room < 0 ? 0 : room / stride + 1;
}

static tl_status infer(const tl_graph *graph, const tl_node *node, tl_value *dst, tl_error *err)
{
    const tl_value *src = &graph->values[node->src[0]];
    const tl_variable *kernel = node->weights[0];
    const tl_attrs *a = &node->attrs;
    char given[128], has[128];
    if (src->rank != 4 || kernel == NULL || kernel->rank != 4)
        return tl_fail(err, TL_SHAPE, "layer '%s': a convolution needs (N, H, W, C), got %s",
                       node->name, tl_shape_text(src->rank, src->dims, given, sizeof given));
    if (kernel->size == 0)
        return tl_fail(err, TL_SHAPE, "layer '%s': the kernel %s has no values", node->name,
                       tl_shape_text(4, kernel->dims, has, sizeof has));
    int64_t groups = tl_conv_groups(node);
    int64_t in = tl_conv_is_depthwise(node) ? kernel->dims[2] : kernel->dims[2] * groups;
    const tl_variable *bias = node->weights[1];
    if (bias != NULL && (int64_t)bias->size != tl_conv_channels(node))
        return tl_fail(err, TL_SHAPE, "layer '%s': a bias of %zu values for %lld channels",
                       node->name, bias->size, (long long)tl_conv_channels(node));
    if (groups < 1 || src->dims[3] != in || tl_conv_channels(node) % groups != 0)
        return tl_fail(err, TL_SHAPE,
                       "layer '%s': the kernel %s with %lld groups reads %lld channels, the input "
                       "is %s",
                       node->name, tl_shape_text(4, kernel->dims, has, sizeof has),
                       (long long)groups, (long long)in,
                       tl_shape_text(4, src->dims, given, sizeof given));
    for (int i = 0; i < 2; i++)
        if (a->strides[i] < 1 || a->dilation[i] < 1 || a->pads[2 * i] < 0 ||
            a->pads[2 * i + 1] < 0)
            return tl_fail(err, TL_ARG,
                           "layer '%s': strides %lld, dilation %lld, padding %lld and %lld; "
                           "allowed: 1 or more, padding 0 or more",
                           node->name, (long long)a->strides[i], (long long)a->dilation[i],
                           (long long)a->pads[2 * i], (long long)a->pads[2 * i + 1]);
    dst->rank = 4;
    dst->dims[0] = src->dims[0];
    dst->dims[1] = out_size(src->dims[1], a->pads[0], a->pads[1], kernel->dims[0], a->strides[0],
                            a->dilation[0]);
    dst->dims[2] = out_size(src->dims[2], a->pads[2], a->pads[3], kernel->dims[1], a->strides[1],
                            a->dilation[1]);
    dst->dims[3] = tl_conv_channels(node);
    return TL_OK;
}

/* A window higher than its image: InceptionV3's 7x1 below 139 pixels, VGG16's last 3x3 at 32. */
static bool exceeds_image(const tl_graph *graph, const tl_node *node)
{
    int64_t window = (node->weights[0]->dims[0] - 1) * node->attrs.dilation[0] + 1;
    return window > graph->values[node->src[0]].dims[1];
}

/* Up to 4 channels that no convolution has made: no gradient goes back to them. */
static bool reads_images(const tl_graph *graph, const tl_node *node)
{
    const int64_t *dims = graph->values[node->src[0]].dims;
    if (dims[3] > 4 || dims[1] * dims[2] <= 1)
        return false;
    for (const tl_node *n = node; n->n_src > 0;) {
        n = &graph->nodes[n->src[0]];
        if (n->kind == TL_OP_conv2d || n->kind == TL_OP_depthwise_conv2d)
            return false;
    }
    return true;
}

/* A blocked plan: images come in as nchw, the only source layout with a fast kernel into a blocked
 * result. Fast in nhwc only: fewer channels than a block, in all or per group, and the
 * weights of a window higher than the image (in blocks there is only a reference loop, 20 to 900
 * times slower). */
static void choose(const tl_graph *graph, const tl_node *node, tl_layout spatial, tl_layout *src,
                   tl_layout *dst)
{
    int64_t groups = tl_conv_groups(node), in = graph->values[node->src[0]].dims[3];
    bool depthwise = tl_conv_is_depthwise(node), images = groups == 1 && reads_images(graph, node);
    bool few = !depthwise && !images && (in < tl_block() || (groups > 1 && in / groups % 16 != 0));
    bool multiplies = depthwise && tl_conv_channels(node) != in;
    bool plain = few || multiplies || (!depthwise && exceeds_image(graph, node));
    *src = *dst = plain ? TL_LAYOUT_PLAIN : spatial;
    if (*src == TL_LAYOUT_BLOCKED && images)
        *src = TL_LAYOUT_NCHW;
}

/* Weights in oneDNN's order with the layout left to the primitive. */
static dnnl_status_t any_weights_md(const tl_node *node, tl_dtype dtype, dnnl_memory_desc_t *md)
{
    dnnl_data_type_t type = tl_dnn_type(dtype);
    const int64_t *k = node->weights[0]->dims;
    int64_t groups = tl_conv_groups(node);
    if (groups == 1 && !tl_conv_is_depthwise(node)) {
        dnnl_dims_t dims = {k[3], k[2], k[0], k[1]};
        return tl_dnn.memory_desc_create_with_tag(md, 4, dims, type, dnnl_format_tag_any);
    }
    int64_t in = tl_conv_is_depthwise(node) ? 1 : k[2];
    dnnl_dims_t dims = {groups, tl_conv_channels(node) / groups, in, k[0], k[1]};
    return tl_dnn.memory_desc_create_with_tag(md, 5, dims, type, dnnl_format_tag_any);
}

typedef struct conv_geometry {
    dnnl_dims_t strides, dilates, before, after;
} conv_geometry;

static conv_geometry geometry_of(const tl_node *node)
{
    const tl_attrs *a = &node->attrs;
    return (conv_geometry){{a->strides[0], a->strides[1]},
                           {a->dilation[0] - 1, a->dilation[1] - 1},
                           {a->pads[0], a->pads[2]},
                           {a->pads[1], a->pads[3]}};
}

static tl_status bias_md(const tl_step *step, dnnl_memory_desc_t *md, tl_error *err)
{
    dnnl_dims_t dims = {tl_conv_channels(step->node)};
    dnnl_status_t made = tl_dnn.memory_desc_create_with_tag(md, 1, dims, dnnl_f32, dnnl_a);
    return made == dnnl_success ? TL_OK : tl_dnn_fail(err, made, step->name);
}

static bool has_bias(const tl_step *step)
{
    return step->node->weights[1] != NULL || step->folded_norm != NULL;
}

/* Weights in the layout `known`, or where it is NULL in the one that the primitive likes best. */
static tl_status create_forward_pd_for(tl_step *step, const_dnnl_memory_desc_t known, bool fused,
                                       dnnl_primitive_desc_t *pd, tl_error *err)
{
    tl_status status = TL_OK;
    dnnl_memory_desc_t weights = NULL, bias = NULL;
    dnnl_primitive_attr_t attr = NULL;
    conv_geometry g = geometry_of(step->node);
    if (known != NULL)
        TL_DNN_GOTO(tl_dnn.memory_desc_clone(&weights, known), step->name);
    else
        TL_DNN_GOTO(any_weights_md(step->node, step->src[0]->dtype, &weights), step->name);
    if (has_bias(step))
        TL_TRY_GOTO(bias_md(step, &bias, err));
    TL_TRY_GOTO(tl_attr_create(&attr, fused ? step : NULL, err));
    TL_DNN_GOTO(
        tl_dnn.convolution_forward_primitive_desc_create(
            pd, tl_dnn.engine, step->training ? dnnl_forward_training : dnnl_forward_inference,
            dnnl_convolution_direct, step->src[0]->md, weights, bias, step->dst->md, g.strides,
            g.dilates, g.before, g.after, attr),
        step->name);
fail:
    if (weights != NULL)
        tl_dnn.memory_desc_destroy(weights);
    if (bias != NULL)
        tl_dnn.memory_desc_destroy(bias);
    if (attr != NULL)
        tl_dnn.primitive_attr_destroy(attr);
    return status;
}

static bool is_reference(dnnl_primitive_desc_t pd)
{
    const char *impl = NULL;
    return tl_dnn.primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &impl) == dnnl_success &&
           strncmp(impl, "ref", 3) == 0;
}

/* The forward primitive descriptor; also the hint of the backward ones. It reads the weights of an
 * earlier plan where it can: brgconv's blocks of output channels depend on batch and threads, and
 * in another plan's blocks only the reference loop may be left (slow, and other bits). */
static tl_status create_forward_pd(tl_step *step, const tl_build *build, bool fused,
                                   dnnl_primitive_desc_t *pd, tl_error *err)
{
    const_dnnl_memory_desc_t known = NULL;
    if (!step->wants_diff_weights[0])
        known = tl_pool_find_md(build->pool, step->node->weights[0], step->folded_norm,
                                tl_conv_role(step, TL_ROLE_FORWARD));
    TL_TRY(create_forward_pd_for(step, known, fused, pd, err));
    if (known == NULL || !is_reference(*pd))
        return TL_OK;
    tl_dnn.primitive_desc_destroy(*pd);
    *pd = NULL;
    return create_forward_pd_for(step, NULL, fused, pd, err);
}

static tl_status create_forward(tl_build *build, tl_step *step, tl_error *err)
{
    conv_state *state = step->state;
    const tl_node *node = step->node;
    dnnl_primitive_desc_t pd = NULL;
    if (has_bias(step))
        TL_TRY(tl_pool_get(build->pool, TL_PACK_BIAS, node->weights[0], node->weights[1],
                           step->folded_norm, TL_ROLE_FORWARD, tl_conv_channels(node),
                           tl_conv_groups(node), NULL, &state->bias, err));
    if (tl_winograd_fits(step)) {
        step->work_bytes[TL_WORK_FORWARD] = tl_winograd_work(step, build->n_threads);
        return tl_conv_kernel_create(build, step, NULL, TL_ROLE_FORWARD, &state->kernel, err);
    }
    TL_TRY(create_forward_pd(step, build, true, &pd, err));
    tl_status status = tl_conv_kernel_create(
        build, step, tl_dnn.primitive_desc_query_md(pd, dnnl_query_weights_md, 0), TL_ROLE_FORWARD,
        &state->kernel, err);
    if (status != TL_OK) {
        tl_dnn.primitive_desc_destroy(pd);
        return status;
    }
    return tl_primitive_create(&state->forward, pd, build, step->name, err);
}

static tl_status create_backward_data_pd(const tl_step *step, const_dnnl_memory_desc_t diff_src,
                                         dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *pd,
                                         tl_error *err)
{
    tl_status status = TL_OK;
    dnnl_memory_desc_t weights = NULL;
    dnnl_primitive_attr_t attr = NULL;
    conv_geometry g = geometry_of(step->node);
    TL_DNN_GOTO(any_weights_md(step->node, step->src[0]->dtype, &weights), step->name);
    TL_TRY_GOTO(tl_attr_create(&attr, NULL, err));
    TL_DNN_GOTO(tl_dnn.convolution_backward_data_primitive_desc_create(
                    pd, tl_dnn.engine, dnnl_convolution_direct, diff_src, weights, step->dst->md,
                    g.strides, g.dilates, g.before, g.after, hint, attr),
                step->name);
fail:
    if (weights != NULL)
        tl_dnn.memory_desc_destroy(weights);
    if (attr != NULL)
        tl_dnn.primitive_attr_destroy(attr);
    return status;
}

/* Columns at the end of the source that no window reads. */
static int64_t unread_columns(const tl_step *step)
{
    const tl_attrs *a = &step->node->attrs;
    int64_t window = (step->node->weights[0]->dims[1] - 1) * a->dilation[1] + 1;
    int64_t room = step->src[0]->dims[2] + a->pads[2] + a->pads[3] - window;
    return room % a->strides[1] - a->pads[3];
}

/* Back through windows that leave out the last column of the source (InceptionV3: 12 x 12 to 5 x 5
 * by a 3x3 window that moves by two) AVX2 may have the reference loop only, a thousand times
 * slower. Where the primitive for the columns that are read is a better one, it takes the place of
 * *pd; spread() adds the zeros. */
static tl_status replace_reference(tl_build *build, tl_step *step, dnnl_primitive_desc_t hint,
                                   dnnl_primitive_desc_t *pd, tl_error *err)
{
    tl_tensor *part = &((conv_state *)step->state)->read_part;
    const tl_tensor *src = step->src[0];
    int64_t unread = unread_columns(step);
    if (!is_reference(*pd) || unread <= 0 || unread >= src->dims[2])
        return TL_OK;
    int64_t dims[] = {src->dims[0], src->dims[1], src->dims[2] - unread, src->dims[3]};
    tl_form form = {src->layout, src->dtype};
    dnnl_primitive_desc_t better = NULL;
    TL_TRY(tl_tensor_init(part, 4, dims, form, build->block, err));
    TL_TRY(create_backward_data_pd(step, part->md, hint, &better, err));
    if (is_reference(better)) {
        tl_tensor_clear(part);
        tl_dnn.primitive_desc_destroy(better);
        return TL_OK;
    }
    tl_dnn.primitive_desc_destroy(*pd);
    *pd = better;
    return TL_OK;
}

static tl_status create_backward_data(tl_build *build, tl_step *step, dnnl_primitive_desc_t hint,
                                      tl_error *err)
{
    conv_state *state = step->state;
    dnnl_primitive_desc_t pd = NULL;
    if (tl_winograd_fits_backward_data(step)) {
        step->work_bytes[TL_WORK_BACKWARD] =
            tl_winograd_work_backward_data(step, build->n_threads);
        return tl_conv_kernel_create(build, step, NULL, TL_ROLE_BACKWARD_DATA,
                                     &state->kernel_backward, err);
    }
    TL_TRY(create_backward_data_pd(step, step->src[0]->md, hint, &pd, err));
    tl_status status = replace_reference(build, step, hint, &pd, err);
    if (status == TL_OK)
        status = tl_conv_kernel_create(
            build, step, tl_dnn.primitive_desc_query_md(pd, dnnl_query_weights_md, 0),
            TL_ROLE_BACKWARD_DATA, &state->kernel_backward, err);
    if (status != TL_OK) {
        tl_dnn.primitive_desc_destroy(pd);
        return status;
    }
    state->read_part_at =
        (step->work_bytes[TL_WORK_BACKWARD] + TL_ALIGNMENT - 1) / TL_ALIGNMENT * TL_ALIGNMENT;
    if (state->read_part.md != NULL)
        step->work_bytes[TL_WORK_BACKWARD] = state->read_part_at + state->read_part.bytes;
    return tl_primitive_create(&state->backward_data, pd, build, step->name, err);
}

/* The gradient of the source from that of the columns that are read: zeros in the others. */
static void spread(const tl_tensor *part, const tl_tensor *whole)
{
    size_t channels = (size_t)(part->layout == TL_LAYOUT_PLAIN ? part->dims[3] : part->block);
    size_t position = channels * tl_dtype_bytes(part->dtype);
    size_t read = (size_t)part->dims[2] * position, row = (size_t)whole->dims[2] * position;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < whole->bytes / row; i++) {
        char *to = (char *)whole->data + i * row;
        memcpy(to, (const char *)part->data + i * read, read);
        memset(to + read, 0, row - read);
    }
}

/* One primitive makes both gradients; the bias may be trainable without the kernel. */
static bool trains(const tl_step *step)
{
    return step->wants_diff_weights[0] || step->wants_diff_weights[1];
}

/* diff_weights comes in the primitive's layout; where only the bias is trained nobody reads it. */
static tl_status create_backward_weights(tl_build *build, tl_step *step,
                                         dnnl_primitive_desc_t hint, tl_error *err)
{
    conv_state *state = step->state;
    tl_status status = TL_OK;
    dnnl_memory_desc_t weights = NULL, bias = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    conv_geometry g = geometry_of(step->node);
    TL_DNN_GOTO(any_weights_md(step->node, TL_F32, &weights), step->name);
    if (step->wants_diff_weights[1])
        TL_TRY_GOTO(bias_md(step, &bias, err));
    TL_TRY_GOTO(tl_attr_create(&attr, NULL, err));
    TL_DNN_GOTO(tl_dnn.convolution_backward_weights_primitive_desc_create(
                    &pd, tl_dnn.engine, dnnl_convolution_direct, step->src[0]->md, weights, bias,
                    step->dst->md, g.strides, g.dilates, g.before, g.after, hint, attr),
                step->name);
    TL_TRY_GOTO(tl_conv_diff_kernel_create(
        build, step, tl_dnn.primitive_desc_query_md(pd, dnnl_query_diff_weights_md, 0),
        &state->diff_kernel, err));
    status = tl_primitive_create(&state->backward_weights, pd, build, step->name, err);
    pd = NULL;
fail:
    if (pd != NULL)
        tl_dnn.primitive_desc_destroy(pd);
    if (weights != NULL)
        tl_dnn.memory_desc_destroy(weights);
    if (bias != NULL)
        tl_dnn.memory_desc_destroy(bias);
    if (attr != NULL)
        tl_dnn.primitive_attr_destroy(attr);
    return status;
}

/* True where the gradients of the weights need no primitive. */
static bool choose_weights_loop(const tl_build *build, tl_step *step)
{
    conv_state *state = step->state;
    if (tl_depthwise_fits(step)) {
        state->backward_weights_loop = tl_depthwise_backward_weights;
    } else if (tl_winograd_fits_backward_weights(step)) {
        size_t bytes = tl_winograd_work_backward_weights(step, build->n_threads);
        if (bytes > step->work_bytes[TL_WORK_BACKWARD])
            step->work_bytes[TL_WORK_BACKWARD] = bytes;
        state->backward_weights_loop = tl_winograd_backward_weights;
    }
    return state->backward_weights_loop != NULL;
}

static tl_status create(tl_build *build, tl_step *step, tl_error *err)
{
    TL_TRY(tl_calloc(&step->state, 1, sizeof(conv_state), "a convolution", err));
    TL_TRY(create_forward(build, step, err));
    if (!step->training)
        return TL_OK;
    dnnl_primitive_desc_t hint = NULL;
    tl_status status = create_forward_pd(step, build, false, &hint, err);
    if (status == TL_OK && step->diff_src[0] != NULL)
        status = create_backward_data(build, step, hint, err);
    if (status == TL_OK && trains(step) && !choose_weights_loop(build, step))
        status = create_backward_weights(build, step, hint, err);
    if (hint != NULL)
        tl_dnn.primitive_desc_destroy(hint);
    return status;
}

static tl_status bind_vector(tl_primitive *primitive, int arg, const tl_step *step, float *data,
                             tl_error *err)
{
    dnnl_memory_desc_t md = NULL;
    TL_TRY(bias_md(step, &md, err));
    tl_status status = tl_primitive_bind(primitive, arg, md, data, err);
    tl_dnn.memory_desc_destroy(md);
    return status;
}

static tl_status bind_backward(tl_step *step, void *scratchpad, tl_error *err)
{
    conv_state *state = step->state;
    if (step->diff_src[0] != NULL && !state->kernel_backward.is_winograd) {
        tl_primitive *p = &state->backward_data;
        const tl_tensor *diff = step->dst->diff;
        TL_TRY(tl_primitive_bind(p, DNNL_ARG_DIFF_DST, diff->md, diff->data, err));
        TL_TRY(tl_conv_kernel_bind(step, &state->kernel_backward, p, scratchpad, err));
        const tl_tensor *to = step->diff_src[0];
        if (state->read_part.md != NULL) {
            state->read_part.data = (char *)step->work[TL_WORK_BACKWARD] + state->read_part_at;
            to = &state->read_part;
        }
        TL_TRY(tl_primitive_bind(p, DNNL_ARG_DIFF_SRC, to->md, to->data, err));
        TL_TRY(tl_primitive_bind_scratchpad(p, scratchpad, err));
    }
    if (!trains(step) || state->backward_weights_loop != NULL)
        return TL_OK;
    tl_primitive *p = &state->backward_weights;
    TL_TRY(tl_primitive_bind(p, DNNL_ARG_SRC, step->src[0]->md, step->kept_src[0]->data, err));
    TL_TRY(
        tl_primitive_bind(p, DNNL_ARG_DIFF_DST, step->dst->diff->md, step->dst->diff->data, err));
    if (step->wants_diff_weights[1])
        TL_TRY(bind_vector(p, DNNL_ARG_DIFF_BIAS, step, step->diff_weights[1], err));
    TL_TRY(tl_primitive_bind_scratchpad(p, scratchpad, err));
    return tl_conv_diff_kernel_bind(step, &state->diff_kernel, p, scratchpad, err);
}

static tl_status bind(tl_step *step, void *scratchpad, tl_error *err)
{
    conv_state *state = step->state;
    tl_primitive *p = &state->forward;
    if (state->kernel.is_winograd)
        return step->training ? bind_backward(step, scratchpad, err) : TL_OK;
    TL_TRY(tl_primitive_bind(p, DNNL_ARG_SRC, step->src[0]->md, step->src[0]->data, err));
    TL_TRY(tl_conv_kernel_bind(step, &state->kernel, p, scratchpad, err));
    if (has_bias(step))
        TL_TRY(bind_vector(p, DNNL_ARG_BIAS, step, state->bias->data, err));
    TL_TRY(tl_primitive_bind(p, DNNL_ARG_DST, step->dst->md, step->dst->data, err));
    TL_TRY(tl_primitive_bind_scratchpad(p, scratchpad, err));
    return step->training ? bind_backward(step, scratchpad, err) : TL_OK;
}

static tl_status refresh(tl_step *step, const tl_run *run, tl_error *err)
{
    conv_state *state = step->state;
    tl_pack *packs[] = {state->kernel.pack, state->bias, state->kernel_backward.pack};
    for (size_t i = 0; i < sizeof packs / sizeof *packs; i++)
        if (packs[i] != NULL)
            TL_TRY(tl_pack_refresh(run->pool, packs[i], run->stream, err));
    return TL_OK;
}

static tl_status forward(tl_step *step, const tl_run *run, tl_error *err)
{
    conv_state *state = step->state;
    TL_TRY(tl_conv_kernel_run(&state->kernel, step, run, err));
    if (!state->kernel.is_winograd)
        return tl_primitive_run(&state->forward, run, step->name, err);
    tl_winograd_forward(step, tl_conv_kernel_values(&state->kernel, step),
                        state->bias != NULL ? state->bias->data : NULL);
    return TL_OK;
}

static tl_status backward(tl_step *step, const tl_run *run, tl_error *err)
{
    conv_state *state = step->state;
    if (step->diff_src[0] != NULL) {
        TL_TRY(tl_conv_kernel_run(&state->kernel_backward, step, run, err));
        if (state->kernel_backward.is_winograd)
            tl_winograd_backward_data(step, tl_conv_kernel_values(&state->kernel_backward, step));
        else
            TL_TRY(tl_primitive_run(&state->backward_data, run, step->name, err));
        if (state->read_part.md != NULL)
            spread(&state->read_part, step->diff_src[0]);
    }
    if (!trains(step))
        return TL_OK;
    if (state->backward_weights_loop != NULL) {
        state->backward_weights_loop(step);
        return TL_OK;
    }
    TL_TRY(tl_primitive_run(&state->backward_weights, run, step->name, err));
    return step->wants_diff_weights[0] ? tl_conv_kernel_run(&state->diff_kernel, step, run, err)
                                       : TL_OK;
}

static void kernels(const tl_step *step, tl_kernels *out)
{
    const conv_state *state = step->state;
    *out =
        (tl_kernels){state->forward.impl, state->backward_data.impl, state->backward_weights.impl};
    if (state->kernel.is_winograd)
        out->forward = TL_OWN ":winograd";
    if (state->kernel_backward.is_winograd)
        out->backward_data = TL_OWN ":winograd";
    if (state->backward_weights_loop == tl_winograd_backward_weights)
        out->backward_weights = TL_OWN ":winograd";
    else if (state->backward_weights_loop != NULL)
        out->backward_weights = TL_OWN ":depthwise";
}

static void destroy(tl_step *step)
{
    conv_state *state = step->state;
    if (state == NULL)
        return;
    tl_primitive_clear(&state->forward);
    tl_primitive_clear(&state->backward_data);
    tl_primitive_clear(&state->backward_weights);
    tl_conv_kernel_clear(&state->kernel);
    tl_conv_kernel_clear(&state->kernel_backward);
    tl_conv_kernel_clear(&state->diff_kernel);
    tl_tensor_clear(&state->read_part);
    tl_free(state);
}

#define CONV_OP(kind)                                                                             \
    const tl_op tl_op_##kind = {                                                                  \
        .infer = infer,                                                                           \
        .choose = choose,                                                                         \
        .takes_bf16 = tl_takes_bf16,                                                              \
        .starts_bf16 = true,                                                                      \
        .backward_reads_src = true,                                                               \
        .create = create,                                                                         \
        .bind = bind,                                                                             \
        .refresh = refresh,                                                                       \
        .forward = forward,                                                                       \
        .backward = backward,                                                                     \
        .kernels = kernels,                                                                       \
        .destroy = destroy,                                                                       \
    };
CONV_OP(conv2d)
CONV_OP(depthwise_conv2d)
