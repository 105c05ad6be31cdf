#include "ops/winograd.h"

#include <stdatomic.h>

#include "kernels/winograd.h"
#include "ops/algorithms.h"

/* V and M of one pass: small beside the activations, but with enough tiles that reading U (up to
 * 38 MB) for each pass does not cost more than the products. */
#define WORKSPACE ((int64_t)6 << 20)
#define MAX_WORKSPACE ((int64_t)32 << 20)
#define ENOUGH_TILES 256

static atomic_bool allowed = true;

void tl_winograd_allow(bool value)
{
    atomic_store(&allowed, value);
}

bool tl_winograd_allowed(void)
{
    return atomic_load(&allowed);
}

static bool clips(const tl_step *step)
{
    return step->has_activation && ((step->activation == TL_ACT_relu && step->alpha == 0.f) ||
                                    step->activation == TL_ACT_relu6);
}

/* A 3x3 window that moves by one, between two tensors of one layout. */
static bool is_plain_3x3(const tl_step *step)
{
    const tl_node *node = step->node;
    const int64_t *k = node->weights[0]->dims;
    const tl_attrs *a = &node->attrs;
    return node->kind == TL_OP_conv2d && k[0] == 3 && k[1] == 3 && a->groups == 1 &&
           a->strides[0] == 1 && a->strides[1] == 1 && a->dilation[0] == 1 &&
           a->dilation[1] == 1 && step->src[0]->layout != TL_LAYOUT_NCHW &&
           step->src[0]->layout == step->dst->layout;
}

/* Below `least` channels the transforms cost more than the products save. Below 10 x 10 the 36
 * matrices (four times the kernel, 38 MB for 512 x 512) cost more memory than the time is worth.
 */
static bool pays(const tl_tensor *dst, int64_t c, int64_t k, int64_t least)
{
    return dst->dims[1] * dst->dims[2] >= 100 && c >= least && k >= least;
}

/* The table's answer, or the rule's; c channels come in and k go out, dst is what is written or,
 * for the kernel's gradient, summed over. */
static bool is_chosen(const tl_step *step, tl_algorithm_use use, const tl_tensor *dst, int64_t c,
                      int64_t k)
{
    const tl_tensor *result = step->dst;
    tl_algorithm found = {use,
                          step->src[0]->dtype,
                          result->dims[1],
                          result->dims[2],
                          step->src[0]->dims[3],
                          result->dims[3],
                          false};
    if (!tl_winograd_allowed() || !is_plain_3x3(step) || c % 16 != 0 || k % 32 != 0)
        return false;
    if (tl_algorithms_find(&found))
        return found.winograd;
    /* a kernel that is trained is transformed each time, and direct convolutions of bfloat16 are
     * twice as fast */
    bool bf16 = found.dtype == TL_BF16;
    if (bf16 && use == TL_USE_BACKWARD_WEIGHTS)
        return false;
    return pays(dst, c, k, use == TL_USE_INFERENCE && !bf16 ? 32 : 64);
}

bool tl_winograd_fits(const tl_step *step)
{
    const tl_tensor *src = step->src[0], *dst = step->dst;
    tl_algorithm_use use = step->training ? TL_USE_FORWARD : TL_USE_INFERENCE;
    return (!step->has_activation || clips(step)) &&
           is_chosen(step, use, dst, src->dims[3], dst->dims[3]);
}

bool tl_winograd_fits_backward_data(const tl_step *step)
{
    const int64_t *pads = step->node->attrs.pads;
    for (int i = 0; i < 4; i++)
        if (pads[i] > 2)
            return false;
    const tl_tensor *src = step->src[0], *dst = step->dst;
    return is_chosen(step, TL_USE_BACKWARD_DATA, src, dst->dims[3], src->dims[3]);
}

bool tl_winograd_fits_backward_weights(const tl_step *step)
{
    const tl_tensor *src = step->src[0], *dst = step->dst;
    return step->wants_diff_weights[0] &&
           is_chosen(step, TL_USE_BACKWARD_WEIGHTS, dst, src->dims[3], dst->dims[3]);
}

static tl_winograd_image image_of(const tl_tensor *t)
{
    int64_t block = t->layout == TL_LAYOUT_BLOCKED ? t->block : t->dims[3];
    return (tl_winograd_image){t->data,    t->dims[0], t->dims[1], t->dims[2],
                               t->dims[3], block,      block};
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Tiles of one of several passes of about the same length; per_tile in bytes. */
static int64_t tiles_per_pass(int64_t n_tiles, int64_t per_tile)
{
    int64_t most = larger(WORKSPACE / per_tile, smaller(ENOUGH_TILES, MAX_WORKSPACE / per_tile));
    most = larger(most, 1);
    int64_t passes = (n_tiles + most - 1) / most;
    return (n_tiles + passes - 1) / passes;
}

/* One convolution: src padded by (top, left) with zeros -> dst. */
typedef struct convolution {
    tl_dtype dtype;
    tl_winograd_image src, dst;
    int64_t top, left;
    tl_winograd_end end;
} convolution;

static int64_t count_tiles(const tl_tensor *dst)
{
    return dst->dims[0] * ((dst->dims[1] + 3) / 4) * ((dst->dims[2] + 3) / 4);
}

static int64_t tile_bytes(const tl_step *step)
{
    return 36 * (step->src[0]->dims[3] + step->dst->dims[3]) * (int64_t)sizeof(float);
}

/* A kernel that is trained has its U at the beginning of the work memory, or its gradient dU. */
static size_t kernel_floats(const tl_step *step)
{
    return step->wants_diff_weights[0] ? 4 * step->node->weights[0]->size : 0;
}

static size_t work_of(const tl_step *step, const tl_tensor *dst)
{
    int64_t tiles = tiles_per_pass(count_tiles(dst), tile_bytes(step));
    return kernel_floats(step) * sizeof(float) + (size_t)(tiles * tile_bytes(step));
}

size_t tl_winograd_work(const tl_step *step)
{
    return work_of(step, step->dst);
}

size_t tl_winograd_work_backward_data(const tl_step *step)
{
    return work_of(step, step->src[0]);
}

size_t tl_winograd_work_backward_weights(const tl_step *step)
{
    return work_of(step, step->dst);
}

/* u: packed kernels; v: room for V and M of a pass. */
static void run(const convolution *conv, const float *u, float *v)
{
    const tl_winograd_kernels *kernels = tl_winograd(conv->dtype);
    const tl_winograd_image *src = &conv->src, *dst = &conv->dst;
    int64_t tiles_h = (dst->h + 3) / 4, tiles_w = (dst->w + 3) / 4;
    int64_t all = dst->n * tiles_h * tiles_w;
    int64_t pass = tiles_per_pass(all, 36 * (src->c + dst->c) * (int64_t)sizeof(float));
    float *m = v + 36 * pass * src->c;
    int64_t block = kernels->block;
    const int64_t few = 8;   /* tiles a thread transforms at a time */
    const int64_t rows = 48; /* of a product, a multiple of every register tile */
    for (int64_t first = 0; first < all; first += pass) {
        int64_t n = smaller(pass, all - first), slices = (n + rows - 1) / rows;
        tl_winograd_rows v_rows = {n * src->c, src->c, block};
#pragma omp parallel
        {
#pragma omp for schedule(static)
            for (int64_t t = first; t < first + n; t += few)
                kernels->transform_src(src, tiles_h, tiles_w, conv->top, conv->left, t,
                                       smaller(t + few, first + n), first, &v_rows, v);
#pragma omp for schedule(dynamic)
            for (int64_t job = 0; job < 36 * slices; job++) {
                int64_t i = job / slices, r0 = job % slices * rows;
                kernels->multiply(v + i * n * src->c, u + i * src->c * dst->c, m + i * n * dst->c,
                                  r0, smaller(r0 + rows, n), src->c, dst->c);
            }
#pragma omp for schedule(static)
            for (int64_t t = first; t < first + n; t += few)
                kernels->transform_dst(m, first, n, tiles_h, tiles_w, t,
                                       smaller(t + few, first + n), &conv->end, dst);
        }
    }
}

void tl_winograd_forward(const tl_step *step, const float *u, const float *bias)
{
    const int64_t *pads = step->node->attrs.pads;
    convolution conv = {step->src[0]->dtype,
                        image_of(step->src[0]),
                        image_of(step->dst),
                        pads[0],
                        pads[2],
                        {bias, step->adds_residual, clips(step), 0.f,
                         step->activation == TL_ACT_relu6 ? 6.f : __builtin_inff()}};
    run(&conv, u, (float *)step->work[TL_WORK_FORWARD] + kernel_floats(step));
}

void tl_winograd_backward_data(const tl_step *step, const float *u)
{
    const int64_t *pads = step->node->attrs.pads;
    convolution conv = {step->dst->dtype,
                        image_of(step->dst->diff),
                        image_of(step->diff_src[0]),
                        2 - pads[0],
                        2 - pads[2],
                        {0}};
    run(&conv, u, (float *)step->work[TL_WORK_BACKWARD] + kernel_floats(step));
}

/* dU (36, k / panel, c, panel) += V' Z of n tiles, and the bias' gradient (or NULL) from Z's sums;
 * v (36, c / block, n, block), z (36, k / panel, n, panel). Inside a parallel region. */
static void add_products(const float *v, const float *z, int64_t n, int64_t c, int64_t k,
                         bool adds, float *du, float *diff_bias)
{
    const tl_winograd_kernels *kernels = tl_winograd(TL_F32);
    int64_t panel = kernels->panel, panels = k / panel;
#pragma omp for schedule(dynamic)
    for (int64_t job = 0; job < 36 * panels; job++) {
        int64_t i = job / panels, p = job % panels;
        const float *z_panel = z + (i * panels + p) * n * panel;
        kernels->multiply_transposed(v + i * n * c, z_panel, du + (i * panels + p) * c * panel, n,
                                     c, adds);
        if (i == TL_WINOGRAD_SUMS && diff_bias != NULL)
            kernels->sum_rows(z_panel, diff_bias + p * panel, n, adds);
    }
}

void tl_winograd_backward_weights(const tl_step *step)
{
    const tl_winograd_kernels *kernels = tl_winograd(step->src[0]->dtype);
    const int64_t *pads = step->node->attrs.pads;
    tl_winograd_image src = image_of(step->kept_src[0]), diff = image_of(step->dst->diff);
    int64_t c = src.c, k = diff.c, panel = kernels->panel;
    int64_t tiles_h = (diff.h + 3) / 4, tiles_w = (diff.w + 3) / 4;
    int64_t all = count_tiles(step->dst), pass = tiles_per_pass(all, tile_bytes(step));
    float *du = step->work[TL_WORK_BACKWARD], *v = du + 36 * c * k, *z = v + 36 * pass * c;
    const int64_t few = 8; /* tiles a thread transforms at a time */
#pragma omp parallel
    {
        for (int64_t first = 0; first < all; first += pass) {
            int64_t n = smaller(pass, all - first), end = first + n;
            tl_winograd_rows v_rows = {n * c, kernels->block, n * kernels->block};
#pragma omp for schedule(static) nowait
            for (int64_t t = first; t < end; t += few)
                kernels->transform_src(&src, tiles_h, tiles_w, pads[0], pads[2], t,
                                       smaller(t + few, end), first, &v_rows, v);
#pragma omp for schedule(static)
            for (int64_t t = first; t < end; t += few)
                kernels->transform_diff(&diff, tiles_h, tiles_w, t, smaller(t + few, end), first,
                                        n, z);
            add_products(v, z, n, c, k, first > 0, du, step->diff_weights[1]);
        }
#pragma omp for schedule(static)
        for (int64_t p = 0; p < k / panel; p++)
            kernels->transform_diff_kernel(du + p * c * panel, c * k, 0, c, c * k, k,
                                           step->diff_weights[0] + p * panel);
    }
}
