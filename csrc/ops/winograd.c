#include "ops/winograd.h"

#include <stdatomic.h>

#include "kernels/winograd.h"

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

/* Below 64 channels the transforms cost more than the products save. Below 10 x 10 the 36 matrices
 * (four times the kernel, 38 MB for 512 x 512) cost more memory than the time is worth. */
static bool pays(const tl_tensor *src, const tl_tensor *dst)
{
    int64_t c = src->dims[3], k = dst->dims[3];
    return tl_winograd_allowed() && dst->dims[1] * dst->dims[2] >= 100 && c >= 64 && k >= 64 &&
           c % 16 == 0 && k % 32 == 0;
}

bool tl_winograd_fits(const tl_step *step)
{
    return is_plain_3x3(step) && pays(step->src[0], step->dst) &&
           (!step->has_activation || clips(step));
}

bool tl_winograd_fits_backward(const tl_step *step)
{
    const int64_t *pads = step->node->attrs.pads;
    for (int i = 0; i < 4; i++)
        if (pads[i] > 2)
            return false;
    return is_plain_3x3(step) && pays(step->dst, step->src[0]);
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

/* Tiles of one of several passes of about the same length; per_tile in bytes. */
static int64_t tiles_per_pass(int64_t n_tiles, int64_t per_tile)
{
    int64_t most = smaller(ENOUGH_TILES, MAX_WORKSPACE / per_tile);
    if (most < WORKSPACE / per_tile)
        most = WORKSPACE / per_tile;
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

/* A kernel that is trained has its U there too. */
static size_t kernel_bytes(const tl_step *step)
{
    return step->wants_diff_weights[0] ? 4 * step->node->weights[0]->size * sizeof(float) : 0;
}

static size_t work_of(const tl_step *step, const tl_tensor *dst)
{
    int64_t tiles = tiles_per_pass(count_tiles(dst), tile_bytes(step));
    return kernel_bytes(step) + (size_t)(tiles * tile_bytes(step));
}

size_t tl_winograd_work(const tl_step *step)
{
    return work_of(step, step->dst);
}

size_t tl_winograd_work_backward(const tl_step *step)
{
    return work_of(step, step->src[0]);
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
    const int64_t few = 8;   /* tiles a thread transforms at a time */
    const int64_t rows = 48; /* of a product, a multiple of every register tile */
    for (int64_t first = 0; first < all; first += pass) {
        int64_t n = smaller(pass, all - first), slices = (n + rows - 1) / rows;
#pragma omp parallel
        {
#pragma omp for schedule(static)
            for (int64_t t = first; t < first + n; t += few)
                kernels->transform_src(src, tiles_h, tiles_w, conv->top, conv->left, t,
                                       smaller(t + few, first + n), first, n, v);
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
    const tl_variable *kernel = step->node->weights[0];
    const int64_t *pads = step->node->attrs.pads;
    float *work = step->work[TL_WORK_FORWARD];
    convolution conv = {step->src[0]->dtype,
                        image_of(step->src[0]),
                        image_of(step->dst),
                        pads[0],
                        pads[2],
                        {bias, step->adds_residual, clips(step), 0.f,
                         step->activation == TL_ACT_relu6 ? 6.f : __builtin_inff()}};
    if (u == NULL) {
        tl_winograd_pack(kernel->data, NULL, kernel->dims[2], kernel->dims[3], work);
        u = work;
        work += kernel_bytes(step) / sizeof(float);
    }
    run(&conv, u, work);
}

void tl_winograd_backward_data(const tl_step *step, const float *u)
{
    const tl_variable *kernel = step->node->weights[0];
    const int64_t *pads = step->node->attrs.pads;
    float *work = step->work[TL_WORK_BACKWARD];
    convolution conv = {step->dst->dtype,
                        image_of(step->dst->diff),
                        image_of(step->diff_src[0]),
                        2 - pads[0],
                        2 - pads[2],
                        {0}};
    if (u == NULL) {
        tl_winograd_pack_transposed(kernel->data, kernel->dims[2], kernel->dims[3], work);
        u = work;
        work += kernel_bytes(step) / sizeof(float);
    }
    run(&conv, u, work);
}
