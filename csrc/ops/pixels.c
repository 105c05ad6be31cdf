/* Ops on images at the input side: scale_shift (rescaling, normalisation, preprocess_input) and
 * random_affine (random flip, rotation, zoom). */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "ops/step.h"

static tl_status infer_scale(const tl_graph *graph, const tl_node *node, tl_value *dst,
                             tl_error *err)
{
    const tl_value *src = &graph->values[node->src[0]];
    char given[128];
    if (node->attrs.n_channels != 1 && node->attrs.n_channels != src->dims[src->rank - 1])
        return tl_fail(err, TL_SHAPE, "layer '%s': %d scale factors for an input of shape %s",
                       node->name, node->attrs.n_channels,
                       tl_shape_text(src->rank, src->dims, given, sizeof given));
    int producer = dst->producer;
    *dst = *src;
    dst->producer = producer;
    return TL_OK;
}

/* Where channel c of the output comes from, and its factor and term. */
static inline int64_t source_channel(const tl_attrs *a, int64_t c, int64_t n)
{
    return a->reverse_channels ? n - 1 - c : c;
}

static tl_status scale_forward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    const tl_attrs *a = &step->node->attrs;
    int64_t n = step->dst->dims[step->dst->rank - 1];
    int64_t rows = tl_shape_size(step->dst->rank, step->dst->dims) / n;
    const float *from = step->src[0]->data;
    float *to = step->dst->data;
#pragma omp parallel for
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < n; c++) {
            int64_t k = a->n_channels == 1 ? 0 : c;
            to[r * n + c] = from[r * n + source_channel(a, c, n)] * a->scale[k] + a->shift[k];
        }
    return TL_OK;
}

static tl_status scale_backward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run, (void)err;
    const tl_attrs *a = &step->node->attrs;
    if (step->diff_src[0] == NULL)
        return TL_OK;
    int64_t n = step->dst->dims[step->dst->rank - 1];
    int64_t rows = tl_shape_size(step->dst->rank, step->dst->dims) / n;
    const float *from = step->dst->diff->data;
    float *to = step->diff_src[0]->data;
#pragma omp parallel for
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < n; c++)
            to[r * n + source_channel(a, c, n)] =
                from[r * n + c] * a->scale[a->n_channels == 1 ? 0 : c];
    return TL_OK;
}

const tl_op tl_op_scale_shift = {
    .infer = infer_scale, .forward = scale_forward, .backward = scale_backward};

/* ---- random_affine ---- */

static tl_status infer_affine(const tl_graph *graph, const tl_node *node, tl_value *dst,
                              tl_error *err)
{
    const tl_value *src = &graph->values[node->src[0]];
    char given[128];
    if (src->rank != 4)
        return tl_fail(err, TL_SHAPE, "layer '%s': needs images (N, H, W, C), got %s", node->name,
                       tl_shape_text(src->rank, src->dims, given, sizeof given));
    int producer = dst->producer;
    *dst = *src;
    dst->producer = producer;
    return TL_OK;
}

/* out(x, y) = in(m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5]); flips after that. */
typedef struct transform {
    double m[6];
    bool flip_x, flip_y;
} transform;

static double draw(const tl_step *step, const tl_run *run, int64_t row, int which, float lo,
                   float hi)
{
    float u = tl_rng_uniform(step->node->attrs.seed, run->seed, (uint64_t)(row * 8 + which));
    return (double)lo + ((double)hi - lo) * u;
}

/* Keras' layers: rotation about ((w-1)/2, (h-1)/2), angle in turns, counter-clockwise; zoom above
 * 1 shows more of the image; RandomFlip's default mode lets one draw decide both axes. */
static transform draw_transform(const tl_step *step, const tl_run *run, int64_t row)
{
    const tl_attrs *a = &step->node->attrs;
    double w = (double)step->dst->dims[2], h = (double)step->dst->dims[1];
    transform t = {{1, 0, 0, 0, 1, 0}, false, false};
    bool flip = draw(step, run, row, 0, 0.f, 1.f) <= 0.5;
    bool other = a->flip_together ? flip : draw(step, run, row, 1, 0.f, 1.f) <= 0.5;
    t.flip_x = a->flip_horizontal && flip;
    t.flip_y = a->flip_vertical && (a->flip_horizontal ? other : flip);
    double angle = 6.283185307179586 * draw(step, run, row, 2, a->rotation[0], a->rotation[1]);
    double zh = 1 + draw(step, run, row, 3, a->zoom_h[0], a->zoom_h[1]);
    double zw = a->zoom_same ? zh : 1 + draw(step, run, row, 4, a->zoom_w[0], a->zoom_w[1]);
    double cx = (w - 1) / 2, cy = (h - 1) / 2, c = cos(angle), s = sin(angle);
    t.m[0] = c * zw, t.m[1] = -s * zh;
    t.m[3] = s * zw, t.m[4] = c * zh;
    t.m[2] = cx - t.m[0] * cx - t.m[1] * cy;
    t.m[5] = cy - t.m[3] * cx - t.m[4] * cy;
    return t;
}

/* A coordinate outside [0, n - 1] brought back by the fill mode, as TensorFlow's MapCoordinate
 * does it (before any interpolation); left where it is for TL_FILL_constant. */
static double map_coordinate(double u, int64_t size, tl_fill mode)
{
    double n = (double)size, period = 2 * n;
    if (mode == TL_FILL_constant)
        return u;
    if (mode == TL_FILL_reflect) { /* half-sample symmetric: dcba|abcd|dcba */
        u -= period * floor(u / period);
        u = u >= n ? period - 1 - u : u;
    } else if (mode == TL_FILL_wrap && size > 1) {
        if (u < 0)
            u += n * (trunc(-u / (n - 1)) + 1);
        else if (u > n - 1)
            u -= n * trunc(u / (n - 1));
    }
    return u < 0 ? 0 : u > n - 1 ? n - 1 : u;
}

static float pixel(const float *image, int64_t h, int64_t w, int64_t n, int64_t y, int64_t x,
                   int64_t c, float fill_value)
{
    bool inside = y >= 0 && y < h && x >= 0 && x < w;
    return inside ? image[(y * w + x) * n + c] : fill_value;
}

static void sample(const float *image, float *to, int64_t h, int64_t w, int64_t n, double y,
                   double x, const tl_attrs *a)
{
    float fill = a->fill_value;
    y = map_coordinate(y, h, a->fill_mode);
    x = map_coordinate(x, w, a->fill_mode);
    if (a->nearest) {
        for (int64_t c = 0; c < n; c++)
            to[c] = pixel(image, h, w, n, llround(y), llround(x), c, fill);
        return;
    }
    int64_t y0 = (int64_t)floor(y), x0 = (int64_t)floor(x);
    float fy = (float)(y - (double)y0), fx = (float)(x - (double)x0);
    for (int64_t c = 0; c < n; c++) {
        float top = pixel(image, h, w, n, y0, x0, c, fill) * (1.f - fx) +
                    pixel(image, h, w, n, y0, x0 + 1, c, fill) * fx;
        float bottom = pixel(image, h, w, n, y0 + 1, x0, c, fill) * (1.f - fx) +
                       pixel(image, h, w, n, y0 + 1, x0 + 1, c, fill) * fx;
        to[c] = top * (1.f - fy) + bottom * fy;
    }
}

static bool moves(const tl_attrs *a)
{
    return a->rotation[0] != 0.f || a->rotation[1] != 0.f || a->zoom_h[0] != 0.f ||
           a->zoom_h[1] != 0.f || a->zoom_w[0] != 0.f || a->zoom_w[1] != 0.f;
}

static tl_status affine_forward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)err;
    const tl_attrs *a = &step->node->attrs;
    const int64_t *d = step->dst->dims;
    int64_t h = d[1], w = d[2], n = d[3];
    bool resampled = moves(a);
#pragma omp parallel for
    for (int64_t r = 0; r < d[0]; r++) {
        transform t = draw_transform(step, run, r);
        const float *image = tl_tensor_at(step->src[0], r * h * w * n);
        float *to = tl_tensor_at(step->dst, r * h * w * n);
        for (int64_t y = 0; y < h; y++)
            for (int64_t x = 0; x < w; x++) {
                int64_t fy = t.flip_y ? h - 1 - y : y, fx = t.flip_x ? w - 1 - x : x;
                float *p = to + (y * w + x) * n;
                if (resampled)
                    sample(image, p, h, w, n, t.m[3] * (double)fx + t.m[4] * (double)fy + t.m[5],
                           t.m[0] * (double)fx + t.m[1] * (double)fy + t.m[2], a);
                else
                    memcpy(p, image + (fy * w + fx) * n, (size_t)n * sizeof(float));
            }
    }
    return TL_OK;
}

static tl_status affine_backward(tl_step *step, const tl_run *run, tl_error *err)
{
    (void)run;
    if (step->diff_src[0] == NULL)
        return TL_OK;
    return tl_fail(err, TL_UNSUPPORTED,
                   "layer '%s': augmentation behind a trainable layer has no gradient; put it in "
                   "front of the network",
                   step->name);
}

const tl_op tl_op_random_affine = {
    .infer = infer_affine, .forward = affine_forward, .backward = affine_backward};
