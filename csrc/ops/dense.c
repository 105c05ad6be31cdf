/* dense: dst = src x kernel + bias over the last axis, by a loop of ours whose bits do not depend
 * on how many rows there are (oneDNN's do); the gradients by dnnl_matmul. Both read the kernel
 * variable (in, units) in place. */
#include <string.h>

#include "base/alloc.h"
#include "kernels/kernels.h"
#include "ops/step.h"

#define MAX_COLUMNS 512 /* sums that stay in the first cache while the kernel streams by */

typedef struct dense_state {
    tl_primitive backward_data, backward_weights;
    int64_t rows, in, units, n_threads;
} dense_state;

static tl_status infer(const tl_graph *graph, const tl_node *node, tl_value *dst, tl_error *err)
{
    const tl_value *src = &graph->values[node->src[0]];
    const tl_variable *kernel = node->weights[0];
    char given[128];
    if (src->rank < 2 || kernel == NULL || kernel->rank != 2 ||
        kernel->dims[0] != src->dims[src->rank - 1])
        return tl_fail(err, TL_SHAPE,
                       "layer '%s': the kernel reads %lld features, the input is %s", node->name,
                       kernel != NULL ? (long long)kernel->dims[0] : 0LL,
                       tl_shape_text(src->rank, src->dims, given, sizeof given));
    const tl_variable *bias = node->weights[1];
    if (bias != NULL && (int64_t)bias->size != kernel->dims[1])
        return tl_fail(err, TL_SHAPE, "layer '%s': a bias of %zu values for %lld units",
                       node->name, bias->size, (long long)kernel->dims[1]);
    *dst = (tl_value){.producer = dst->producer, .rank = src->rank};
    memcpy(dst->dims, src->dims, sizeof dst->dims);
    dst->dims[dst->rank - 1] = kernel->dims[1];
    return TL_OK;
}

/* A row-major (rows, columns) matrix, or its transpose read in place. */
static tl_status matrix_md(dnnl_memory_desc_t *md, int64_t rows, int64_t columns, bool transposed,
                           tl_error *err)
{
    dnnl_dims_t dims = {rows, columns};
    dnnl_dims_t strides = {transposed ? 1 : columns, transposed ? rows : 1};
    dnnl_status_t made = tl_dnn.memory_desc_create_with_strides(md, 2, dims, dnnl_f32, strides);
    return made == dnnl_success ? TL_OK : tl_dnn_fail(err, made, "describing a matrix");
}

typedef struct matrix {
    int64_t rows, columns;
    bool transposed;
    float *data; /* at bind */
} matrix;

/* One product a x b -> c: made with build given, bound to the data without. */
static tl_status product(tl_primitive *primitive, const matrix *a, const matrix *b,
                         const matrix *c, tl_build *build, void *scratchpad, const char *name,
                         tl_error *err)
{
    tl_status status = TL_OK;
    const matrix *all[3] = {a, b, c};
    static const int args[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    dnnl_memory_desc_t md[3] = {NULL, NULL, NULL};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    for (int i = 0; i < 3; i++)
        TL_TRY_GOTO(matrix_md(&md[i], all[i]->rows, all[i]->columns, all[i]->transposed, err));
    if (build != NULL) {
        TL_TRY_GOTO(tl_attr_create(&attr, NULL, err));
        TL_DNN_GOTO(tl_dnn.matmul_primitive_desc_create(&pd, tl_dnn.engine, md[0], md[1], NULL,
                                                        md[2], attr),
                    name);
        TL_TRY_GOTO(tl_primitive_create(primitive, pd, build, name, err));
    } else {
        for (int i = 0; i < 3; i++)
            TL_TRY_GOTO(tl_primitive_bind(primitive, args[i], md[i], all[i]->data, err));
        TL_TRY_GOTO(tl_primitive_bind_scratchpad(primitive, scratchpad, err));
    }
fail:
    for (int i = 0; i < 3; i++)
        if (md[i] != NULL)
            tl_dnn.memory_desc_destroy(md[i]);
    if (attr != NULL)
        tl_dnn.primitive_attr_destroy(attr);
    return status;
}

/* The two products of the gradients, made (build given) or bound (build NULL). */
static tl_status products(tl_step *step, tl_build *build, void *scratchpad, tl_error *err)
{
    dense_state *s = step->state;
    if (!step->training)
        return TL_OK;
    matrix diff_dst = {s->rows, s->units, false, step->dst->diff->data};
    if (step->diff_src[0] != NULL) {
        matrix kernel_t = {s->units, s->in, true, step->node->weights[0]->data};
        matrix diff_src = {s->rows, s->in, false, step->diff_src[0]->data};
        TL_TRY(product(&s->backward_data, &diff_dst, &kernel_t, &diff_src, build, scratchpad,
                       step->name, err));
    }
    if (!step->wants_diff_weights[0])
        return TL_OK;
    matrix src_t = {s->in, s->rows, true, step->kept_src[0]->data};
    matrix diff_kernel = {s->in, s->units, false, step->diff_weights[0]};
    return product(&s->backward_weights, &src_t, &diff_dst, &diff_kernel, build, scratchpad,
                   step->name, err);
}

static tl_status create(tl_build *build, tl_step *step, tl_error *err)
{
    TL_TRY(tl_calloc(&step->state, 1, sizeof(dense_state), "a dense layer", err));
    dense_state *s = step->state;
    s->in = step->node->weights[0]->dims[0];
    s->units = step->node->weights[0]->dims[1];
    s->n_threads = build->n_threads;
    s->rows = tl_shape_size(step->src[0]->rank, step->src[0]->dims) / s->in;
    return products(step, build, NULL, err);
}

static tl_status bind(tl_step *step, void *scratchpad, tl_error *err)
{
    return products(step, NULL, scratchpad, err);
}

static int64_t columns_per_job(const dense_state *s)
{
    int64_t jobs = (s->units + MAX_COLUMNS - 1) / MAX_COLUMNS;
    jobs = (jobs + s->n_threads - 1) / s->n_threads * s->n_threads; /* the same for each thread */
    int64_t split = jobs * TL_DENSE_SPLIT;
    return (s->units + split - 1) / split * TL_DENSE_SPLIT;
}

static tl_status forward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    const dense_state *s = step->state;
    const tl_node *node = step->node;
    const float *bias = node->weights[1] != NULL ? node->weights[1]->data : NULL;
    tl_dense_fn kernel = tl_dense_columns();
    int64_t span = columns_per_job(s);
#pragma omp parallel for schedule(static) if (s->in * s->units * s->rows > 1 << 16)
    for (int64_t u = 0; u < s->units; u += span)
        kernel(step->src[0]->data, node->weights[0]->data, bias, step->dst->data, s->rows, s->in,
               s->units, u, u + span < s->units ? u + span : s->units);
    return TL_OK;
}

static tl_status backward(tl_step *step, const tl_run *run, tl_error *err)
{
    dense_state *s = step->state;
    if (step->diff_src[0] != NULL)
        TL_TRY(tl_primitive_run(&s->backward_data, run, step->name, err));
    if (step->wants_diff_weights[0])
        TL_TRY(tl_primitive_run(&s->backward_weights, run, step->name, err));
    if (step->wants_diff_weights[1]) {
        float *diff_bias = step->diff_weights[1];
        const float *diff = step->dst->diff->data;
        for (int64_t u = 0; u < s->units; u++) {
            double sum = 0;
            for (int64_t r = 0; r < s->rows; r++)
                sum += diff[r * s->units + u];
            diff_bias[u] = (float)sum;
        }
    }
    return TL_OK;
}

static void kernels(const tl_step *step, tl_kernels *out)
{
    const dense_state *s = step->state;
    *out = (tl_kernels){TL_OWN, s->backward_data.impl, s->backward_weights.impl};
}

static void destroy(tl_step *step)
{
    dense_state *s = step->state;
    if (s == NULL)
        return;
    tl_primitive_clear(&s->backward_data);
    tl_primitive_clear(&s->backward_weights);
    tl_free(s);
}

const tl_op tl_op_dense = {
    .infer = infer,
    .backward_reads_src = true,
    .create = create,
    .bind = bind,
    .forward = forward,
    .backward = backward,
    .kernels = kernels,
    .destroy = destroy,
};
