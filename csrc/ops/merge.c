/* add, subtract, multiply, average, maximum of values of one shape; a later operand may also be
 * (N, 1, 1, C) or (N, H, W, 1) against a first one of (N, H, W, C). concat along the last axis. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "ops/slice.h"

typedef enum operand { WHOLE, PER_CHANNEL, PER_POSITION } operand;

/* How operand b spreads over a; false when it does not. */
static bool operand_of(const tl_value *a, const tl_value *b, operand *kind)
{
    *kind = WHOLE;
    if (tl_same_shape(a, b))
        return true;
    if (a->rank != 4 || b->rank != 4 || a->dims[0] != b->dims[0])
        return false;
    *kind = b->dims[3] == a->dims[3] ? PER_CHANNEL : PER_POSITION;
    return *kind == PER_CHANNEL
               ? b->dims[1] == 1 && b->dims[2] == 1
               : b->dims[1] == a->dims[1] && b->dims[2] == a->dims[2] && b->dims[3] == 1;
}

static tl_status infer(const tl_graph *graph, const tl_node *node, tl_value *dst, tl_error *err)
{
    const tl_value *a = &graph->values[node->src[0]];
    char first[128], other[128];
    for (int i = 1; i < node->n_src; i++) {
        const tl_value *b = &graph->values[node->src[i]];
        operand kind;
        if (!operand_of(a, b, &kind))
            return tl_fail(err, TL_SHAPE,
                           "layer '%s': cannot %s shapes %s and %s; allowed: equal shapes, or "
                           "(N, 1, 1, C) or (N, H, W, 1) as a later input",
                           node->name, tl_op_name(node->kind),
                           tl_shape_text(a->rank, a->dims, first, sizeof first),
                           tl_shape_text(b->rank, b->dims, other, sizeof other));
    }
    int producer = dst->producer;
    *dst = *a;
    dst->producer = producer;
    return TL_OK;
}

static operand kind_of(const tl_step *step, int i)
{
    const tl_tensor *a = step->src[0], *b = step->src[i];
    if (memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0)
        return WHOLE;
    return b->dims[3] == a->dims[3] ? PER_CHANNEL : PER_POSITION;
}

static void choose(const tl_graph *graph, const tl_node *node, tl_layout spatial, tl_layout *src,
                   tl_layout *dst)
{
    (void)spatial;
    const tl_value *a = &graph->values[node->src[0]];
    for (int i = 1; i < node->n_src; i++) {
        operand kind;
        if (!operand_of(a, &graph->values[node->src[i]], &kind) || kind == PER_POSITION)
            *src = TL_LAYOUT_PLAIN;
    }
    if (*src == TL_LAYOUT_NCHW)
        *src = TL_LAYOUT_PLAIN;
    *dst = *src;
}

static inline float combine(tl_op_kind kind, float a, float b)
{
    switch (kind) {
        case TL_OP_subtract:
            return a - b;
        case TL_OP_multiply:
            return a * b;
        case TL_OP_maximum:
            return a > b || isnan(a) ? a : b;
        default:
            return a + b;
    }
}

/* Index into operand b for element e of image n of the first operand. */
static inline int64_t index_of(operand kind, const tl_channels *w, int64_t image, int64_t n,
                               int64_t e, int64_t b_image)
{
    if (kind == WHOLE)
        return n * image + e;
    if (kind == PER_POSITION)
        return n * b_image + e / w->n;
    return n * b_image + e / (w->inner * w->stride) * w->width + e % w->width;
}

/* The walk of one image: PLAIN tensors count all images in `inner`. */
static tl_channels image_channels(const tl_tensor *t)
{
    tl_channels w = tl_tensor_channels(t);
    if (w.outer == 1 && w.blocks == 1)
        w.inner /= t->dims[0];
    return w;
}

static tl_status forward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    const tl_tensor *a = step->src[0];
    tl_op_kind op = step->node->kind;
    tl_channels w = image_channels(a);
    int64_t n = a->dims[0], image = (int64_t)(a->bytes / sizeof(float)) / n;
    float *dst = step->dst->data;
    float scale = op == TL_OP_average ? 1.f / (float)step->n_src : 1.f;
    for (int i = 1; i < step->n_src; i++) {
        const float *first = i == 1 ? a->data : dst, *b = step->src[i]->data;
        int64_t b_image = (int64_t)(step->src[i]->bytes / sizeof(float)) / n;
        operand kind = kind_of(step, i);
        bool last = i == step->n_src - 1;
#pragma omp parallel for
        for (int64_t block = 0; block < n * 8; block++) {
            int64_t r = block / 8, end = image * (block % 8 + 1) / 8;
            for (int64_t e = image * (block % 8) / 8; e < end; e++) {
                float y =
                    combine(op, first[r * image + e], b[index_of(kind, &w, image, r, e, b_image)]);
                dst[r * image + e] = last && op == TL_OP_average ? y * scale : y;
            }
        }
    }
    if (step->n_src == 1)
        memcpy(dst, a->data, a->bytes);
    return TL_OK;
}

/* d dst / d src[i] at one element, times dy. */
static inline float pull_back(const tl_step *step, int i, float dy, float self, float other,
                              float dst)
{
    switch (step->node->kind) {
        case TL_OP_subtract:
            return i == 0 ? dy : -dy;
        case TL_OP_multiply:
            return dy * other;
        case TL_OP_average:
            return dy / (float)step->n_src;
        case TL_OP_maximum:
            return self == dst ? dy : 0.f;
        default:
            return dy;
    }
}

/* maximum: of equal sources the first gets the gradient (TensorFlow); is one before source i equal
 * to the result at element e of image r? */
static bool is_beaten(const tl_step *step, int i, const tl_channels *w, int64_t image, int64_t r,
                      int64_t e)
{
    float top = tl_tensor_get(step->kept_dst, r * image + e);
    for (int k = 0; k < i; k++) {
        const tl_tensor *t = step->kept_src[k];
        int64_t own_image = (int64_t)(t->bytes / sizeof(float)) / t->dims[0];
        operand kind = k == 0 ? WHOLE : kind_of(step, k);
        if (tl_tensor_get(t, index_of(kind, w, image, r, e, own_image)) == top)
            return true;
    }
    return false;
}

static void pull_back_source(tl_step *step, int i)
{
    const tl_tensor *a = step->src[0];
    tl_channels w = image_channels(a);
    int64_t n = a->dims[0], image = (int64_t)(a->bytes / sizeof(float)) / n;
    int64_t own_image = (int64_t)(step->src[i]->bytes / sizeof(float)) / n;
    operand kind = i == 0 ? WHOLE : kind_of(step, i);
    /* multiply has two sources in this engine; more are chained by the layer */
    int j = i == 0 ? 1 : 0;
    operand other_kind = j == 0 || step->n_src == 1 ? WHOLE : kind_of(step, j);
    const tl_tensor *other = step->n_src > 1 ? step->kept_src[j] : step->kept_src[0];
    int64_t other_image = (int64_t)(other->bytes / sizeof(float)) / n;
    const float *dy = step->dst->diff->data, *dst = step->kept_dst->data;
    const float *self = step->kept_src[i]->data, *others = other->data;
    float *out = step->diff_src[i]->data;
    memset(out, 0, step->diff_src[i]->bytes);
#pragma omp parallel for
    for (int64_t r = 0; r < n; r++)
        for (int64_t e = 0; e < image; e++) {
            int64_t own = index_of(kind, &w, image, r, e, own_image);
            if (step->node->kind == TL_OP_maximum && is_beaten(step, i, &w, image, r, e))
                continue;
            int64_t at_other = index_of(other_kind, &w, image, r, e, other_image);
            out[own] += pull_back(step, i, dy[r * image + e], self[own], others[at_other],
                                  dst[r * image + e]);
        }
}

static tl_status backward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run;
    if (step->node->kind == TL_OP_multiply && step->n_src > 2)
        return tl_fail(err, TL_UNSUPPORTED, "layer '%s': training through a product of %d values",
                       step->name, step->n_src);
    for (int i = 0; i < step->n_src; i++)
        if (step->diff_src[i] != NULL)
            pull_back_source(step, i);
    return TL_OK;
}

#define MERGE_OP(kind)                                                                            \
    const tl_op tl_op_##kind = {                                                                  \
        .infer = infer,                                                                           \
        .choose = choose,                                                                         \
        .backward_reads_src = true,                                                               \
        .backward_reads_dst = true,                                                               \
        .forward = forward,                                                                       \
        .backward = backward,                                                                     \
    };
MERGE_OP(subtract)
MERGE_OP(maximum)

/* ---- multiply by one value per image and channel (squeeze-and-excite) ---- */

/* to = from * factor, for all images. */
static void multiply_channels(const tl_tensor *from, const tl_tensor *factor, const tl_tensor *to)
{
    int64_t groups = tl_slices_per_image(from), jobs = from->dims[0] * groups;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < jobs; i++) {
        tl_slice s = tl_slice_of(from, i / groups, i % groups);
        tl_norm_map map = {.low = -INFINITY, .high = INFINITY};
        for (int k = 0; k < s.width; k++)
            map.scale[k] = tl_tensor_get(factor, s.channel + k);
        tl_norm(from->dtype)
            ->apply(tl_tensor_at(from, s.at), NULL, tl_tensor_at(to, s.at), s.n, s.stride, s.width,
                    &map);
    }
}

/* diff_factor = sum over positions of dy * x. */
static void reduce_channels(const tl_tensor *x, const tl_tensor *dy, const tl_tensor *diff_factor)
{
    int64_t groups = tl_slices_per_image(x), jobs = x->dims[0] * groups;
    static const float zeros[TL_NORM_WIDTH];
    static const tl_norm_map all = {.low = -INFINITY, .high = INFINITY};
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < jobs; i++) {
        tl_slice s = tl_slice_of(x, i / groups, i % groups);
        double sum[TL_NORM_WIDTH] = {0}, product[TL_NORM_WIDTH] = {0};
        tl_norm(x->dtype)->gradients(tl_tensor_at(x, s.at), tl_tensor_at(dy, s.at), NULL, s.n,
                                     s.stride, s.width, zeros, &all, sum, product);
        for (int k = 0; k < s.width; k++)
            tl_tensor_set(diff_factor, s.channel + k, (float)product[k]);
    }
}

static bool takes_bf16_multiply(const tl_graph *graph, const tl_node *node, bool training)
{
    (void)training;
    operand kind;
    return node->n_src == 2 && graph->values[node->src[0]].rank == 4 &&
           operand_of(&graph->values[node->src[0]], &graph->values[node->src[1]], &kind) &&
           kind == PER_CHANNEL;
}

static bool is_per_channel(const tl_step *step)
{
    return step->n_src == 2 && step->src[0]->rank == 4 && kind_of(step, 1) == PER_CHANNEL;
}

static tl_status forward_multiply(tl_step *step, const tl_run *run, tl_error *err)
{
    if (!is_per_channel(step))
        return forward(step, run, err);
    multiply_channels(step->src[0], step->src[1], step->dst);
    return TL_OK;
}

static tl_status backward_multiply(tl_step *step, const tl_run *run, tl_error *err)
{
    if (!is_per_channel(step))
        return backward(step, run, err);
    if (step->diff_src[0] != NULL)
        multiply_channels(step->dst->diff, step->kept_src[1], step->diff_src[0]);
    if (step->diff_src[1] != NULL)
        reduce_channels(step->kept_src[0], step->dst->diff, step->diff_src[1]);
    return TL_OK;
}

const tl_op tl_op_multiply = {.infer = infer,
                              .choose = choose,
                              .takes_bf16 = takes_bf16_multiply,
                              .backward_reads_src = true,
                              .in_place = true,
                              .forward = forward_multiply,
                              .backward = backward_multiply};

/* ---- add ---- */

#define BLOCK ((int64_t)1 << 14) /* numbers a thread adds at a time */

void tl_tensor_add(const tl_tensor *sum, const tl_tensor *a, const tl_tensor *b)
{
    const tl_norm_kernels *kernels = tl_norm(sum->dtype);
    int64_t n = tl_tensor_count(sum);
#pragma omp parallel for schedule(static) if (n > BLOCK)
    for (int64_t at = 0; at < n; at += BLOCK)
        kernels->add(tl_tensor_at(sum, at), tl_tensor_at(a, at), tl_tensor_at(b, at),
                     n - at < BLOCK ? n - at : BLOCK);
}

static bool takes_bf16_add(const tl_graph *graph, const tl_node *node, bool training)
{
    (void)training;
    for (int i = 1; i < node->n_src; i++)
        if (!tl_same_shape(&graph->values[node->src[0]], &graph->values[node->src[i]]))
            return false;
    return node->n_src > 1;
}

static bool all_whole(const tl_step *step)
{
    for (int i = 1; i < step->n_src; i++)
        if (kind_of(step, i) != WHOLE)
            return false;
    return step->n_src > 1;
}

static tl_status forward_add(tl_step *step, const tl_run *run, tl_error *err)
{
    if (!all_whole(step))
        return forward(step, run, err);
    for (int i = 1; i < step->n_src; i++)
        tl_tensor_add(step->dst, i == 1 ? step->src[0] : step->dst, step->src[i]);
    return TL_OK;
}

static tl_status backward_add(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    const tl_tensor *dy = step->dst->diff;
    for (int i = 0; i < step->n_src; i++) {
        tl_tensor *diff = step->diff_src[i];
        if (diff != NULL && (i > 0 && kind_of(step, i) != WHOLE))
            pull_back_source(step, i);
        else if (diff != NULL && step->accumulate[i])
            tl_tensor_add(diff, diff, dy);
        else if (diff != NULL && diff->data != dy->data)
            memcpy(diff->data, dy->data, dy->bytes);
    }
    return TL_OK;
}

const tl_op tl_op_add = {.infer = infer,
                         .choose = choose,
                         .takes_bf16 = takes_bf16_add,
                         .passes_diff = true,
                         .forward = forward_add,
                         .backward = backward_add};
const tl_op tl_op_average = {
    .infer = infer, .choose = choose, .forward = forward, .backward = backward};

/* ---- concat ---- */

static tl_status infer_concat(const tl_graph *graph, const tl_node *node, tl_value *dst,
                              tl_error *err)
{
    const tl_value *a = &graph->values[node->src[0]];
    char first[128], other[128];
    int producer = dst->producer;
    *dst = *a;
    dst->producer = producer;
    for (int i = 1; i < node->n_src; i++) {
        const tl_value *b = &graph->values[node->src[i]];
        if (b->rank != a->rank ||
            memcmp(a->dims, b->dims, (size_t)(a->rank - 1) * sizeof *a->dims) != 0)
            return tl_fail(err, TL_SHAPE,
                           "layer '%s': cannot join shapes %s and %s; all but the last axis must "
                           "be equal",
                           node->name, tl_shape_text(a->rank, a->dims, first, sizeof first),
                           tl_shape_text(b->rank, b->dims, other, sizeof other));
        dst->dims[dst->rank - 1] += b->dims[b->rank - 1];
    }
    return TL_OK;
}

/* Blocked only where every operand fills its blocks (of 16, so that no machine differs). */
static void choose_concat(const tl_graph *graph, const tl_node *node, tl_layout spatial,
                          tl_layout *src, tl_layout *dst)
{
    *src = spatial;
    for (int i = 0; i < node->n_src; i++)
        if (graph->values[node->src[i]].dims[3] % 16 != 0)
            *src = TL_LAYOUT_PLAIN;
    *dst = *src;
}

/* Runs of numbers that stay together: source i puts `width` of them at `offset` into every one of
 * the `rows` rows of the result. */
static void concat_rows(const tl_step *step, int i, int64_t *rows, int64_t *width, int64_t *offset)
{
    const tl_tensor *t = step->src[i];
    bool blocked = t->layout == TL_LAYOUT_BLOCKED;
    int64_t per = blocked ? t->dims[1] * t->dims[2] : 1; /* numbers per channel in a run */
    *rows = blocked ? t->dims[0] : tl_shape_size(t->rank - 1, t->dims);
    *width = t->dims[t->rank - 1] * per;
    *offset = 0;
    for (int k = 0; k < i; k++)
        *offset += step->src[k]->dims[t->rank - 1] * per;
}

typedef enum concat_way { PART_TO_WHOLE, WHOLE_TO_PART, ADD_WHOLE_TO_PART } concat_way;

static void concat_copy(tl_step *step, int i, const tl_tensor *part, const tl_tensor *whole,
                        concat_way way)
{
    const tl_norm_kernels *kernels = tl_norm(whole->dtype);
    int64_t rows, width, offset;
    concat_rows(step, i, &rows, &width, &offset);
    int64_t total = tl_tensor_count(whole) / rows;
    size_t bytes = (size_t)width * tl_dtype_bytes(whole->dtype);
#pragma omp parallel for
    for (int64_t r = 0; r < rows; r++) {
        void *p = tl_tensor_at(part, r * width), *q = tl_tensor_at(whole, r * total + offset);
        if (way == ADD_WHOLE_TO_PART)
            kernels->add(p, p, q, width);
        else if (way == WHOLE_TO_PART)
            memcpy(p, q, bytes);
        else
            memcpy(q, p, bytes);
    }
}

static tl_status forward_concat(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    for (int i = 0; i < step->n_src; i++)
        concat_copy(step, i, step->src[i], step->dst, PART_TO_WHOLE);
    return TL_OK;
}

static tl_status backward_concat(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    for (int i = 0; i < step->n_src; i++)
        if (step->diff_src[i] != NULL)
            concat_copy(step, i, step->diff_src[i], step->dst->diff,
                        step->accumulate[i] ? ADD_WHOLE_TO_PART : WHOLE_TO_PART);
    return TL_OK;
}

const tl_op tl_op_concat = {
    .infer = infer_concat,
    .choose = choose_concat,
    .takes_bf16 = tl_takes_bf16,
    .adds_diff = true,
    .forward = forward_concat,
    .backward = backward_concat,
};
