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

bool tl_winograd_fits(const tl_step *step)
{
    const tl_node *node = step->node;
    const int64_t *k = node->weights[0]->dims;
    const tl_attrs *a = &node->attrs;
    if (node->kind != TL_OP_conv2d || step->training || !tl_winograd_allowed())
        return false;
    if (k[0] != 3 || k[1] != 3 || a->groups != 1 || a->strides[0] != 1 || a->strides[1] != 1 ||
        a->dilation[0] != 1 || a->dilation[1] != 1 || step->src[0]->layout == TL_LAYOUT_NCHW ||
        step->src[0]->layout != step->dst->layout)
        return false;
    /* Below 64 channels the transforms cost more than the products save. Below 10 x 10 the 36
     * matrices (four times the kernel, 38 MB for 512 x 512) cost more memory than the time is
     * worth. */
    if (step->dst->dims[1] * step->dst->dims[2] < 100)
        return false;
    return k[2] >= 64 && k[3] >= 64 && k[2] % 16 == 0 && k[3] % 32 == 0 &&
           (!step->has_activation || clips(step));
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

/* Tiles of one of several passes of about the same length. */
static int64_t tiles_per_pass(const tl_step *step, int64_t n_tiles)
{
    int64_t per_tile = 36 * (step->src[0]->dims[3] + step->dst->dims[3]) * (int64_t)sizeof(float);
    int64_t most = smaller(ENOUGH_TILES, MAX_WORKSPACE / per_tile);
    if (most < WORKSPACE / per_tile)
        most = WORKSPACE / per_tile;
    int64_t passes = (n_tiles + most - 1) / most;
    return (n_tiles + passes - 1) / passes;
}

static int64_t count_tiles(const tl_tensor *dst)
{
    return dst->dims[0] * ((dst->dims[1] + 3) / 4) * ((dst->dims[2] + 3) / 4);
}

size_t tl_winograd_workspace(const tl_step *step)
{
    int64_t tiles = tiles_per_pass(step, count_tiles(step->dst));
    return (size_t)(36 * tiles * (step->src[0]->dims[3] + step->dst->dims[3])) * sizeof(float);
}

void tl_winograd_forward(const tl_step *step, const float *u, const float *bias)
{
    const tl_winograd_kernels *kernels = tl_winograd();
    const int64_t *pads = step->node->attrs.pads;
    tl_winograd_image src = image_of(step->src[0]), dst = image_of(step->dst);
    tl_winograd_end end = {bias, step->adds_residual, clips(step), 0.f,
                           step->activation == TL_ACT_relu6 ? 6.f : __builtin_inff()};
    int64_t tiles_h = (dst.h + 3) / 4, tiles_w = (dst.w + 3) / 4;
    int64_t all = dst.n * tiles_h * tiles_w, pass = tiles_per_pass(step, all);
    float *v = step->work[TL_WORK_FORWARD], *m = v + 36 * pass * src.c;
    const int64_t few = 8;   /* tiles a thread transforms at a time */
    const int64_t rows = 48; /* of a product, a multiple of every register tile */
    for (int64_t first = 0; first < all; first += pass) {
        int64_t n = smaller(pass, all - first), slices = (n + rows - 1) / rows;
#pragma omp parallel
        {
#pragma omp for schedule(static)
            for (int64_t t = first; t < first + n; t += few)
                kernels->transform_src(&src, tiles_h, tiles_w, pads[0], pads[2], t,
                                       smaller(t + few, first + n), first, n, v);
#pragma omp for schedule(dynamic)
            for (int64_t job = 0; job < 36 * slices; job++) {
                int64_t i = job / slices, r0 = job % slices * rows;
                kernels->multiply(v + i * n * src.c, u + i * src.c * dst.c, m + i * n * dst.c, r0,
                                  smaller(r0 + rows, n), src.c, dst.c);
            }
#pragma omp for schedule(static)
            for (int64_t t = first; t < first + n; t += few)
                kernels->transform_dst(m, first, n, tiles_h, tiles_w, t,
                                       smaller(t + few, first + n), &end, &dst);
        }
    }
}
