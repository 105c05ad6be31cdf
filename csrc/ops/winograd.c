#include "ops/winograd.h"

#include <omp.h>
#include <stdatomic.h>

#include "base/os.h"
#include "kernels/winograd.h"
#include "ops/algorithms.h"

/* Where a thread's L2 holds V and M of LEAST_SLAB tiles, it takes a slab of tiles from the source
 * to the destination alone: V and M never leave its cache. Below so many tiles, reading U for each
 * slab costs more. */
#define LEAST_SLAB 12
#define SLAB_UNIT 4 /* slabs are a multiple of the smaller register tile */

/* Otherwise all threads share V and M of one pass: small beside the activations and the L3 (which
 * other processes use too), but with enough tiles that reading U (up to 38 MB) for each pass does
 * not cost more than the products. */
#define WORKSPACE ((int64_t)6 << 20)
#define MAX_WORKSPACE ((int64_t)32 << 20)
#define ENOUGH_TILES 256

/* The sums of the kernel's gradient are cut into PARTS, each one thread's, where dU is small: up
 * to MAX_PART numbers. Their count does not depend on the threads, so no bit does. */
#define PARTS 4
#define MAX_PART (36 * 128 * 128)

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

/* Tiles whose two transforms a thread's L2 holds, with room for the rest. */
static int64_t tiles_in_l2(int64_t per_tile)
{
    return tl_os_l2_bytes() / 8 * 7 / per_tile;
}

/* Slabs: n of about the same length, at most `longest` tiles, as many for one thread as for
 * another. n is 0 where V and M of LEAST_SLAB tiles do not fit a thread's L2. */
typedef struct tile_slabs {
    int64_t all, units, n, longest;
} tile_slabs;

static tile_slabs slabs_of(int64_t all, int64_t per_tile, int64_t n_threads)
{
    int64_t most = tiles_in_l2(per_tile);
    if (most < LEAST_SLAB)
        return (tile_slabs){0};
    int64_t units = (all + SLAB_UNIT - 1) / SLAB_UNIT, at_once = most / SLAB_UNIT;
    int64_t n = (units + at_once - 1) / at_once;
    n = smaller((n + n_threads - 1) / n_threads * n_threads, units);
    return (tile_slabs){all, units, n, (units + n - 1) / n * SLAB_UNIT};
}

/* The first tile of slab i, or for i = n the end. */
static int64_t slab_begin(const tile_slabs *slabs, int64_t i)
{
    return smaller(i * slabs->units / slabs->n * SLAB_UNIT, slabs->all);
}

/* Rows between two of the 36 matrices of a slab: odd, so that fewer of them meet in one set of the
 * cache. */
static int64_t slab_rows(int64_t tiles)
{
    return tiles | 1;
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

static int64_t transformed_floats(const tl_step *step) /* of U, or of its gradient dU */
{
    return 4 * (int64_t)step->node->weights[0]->size;
}

/* A kernel that is trained has its U at the beginning of the work memory. */
static int64_t kept_floats(const tl_step *step)
{
    return step->wants_diff_weights[0] ? transformed_floats(step) : 0;
}

static size_t work_of(const tl_step *step, const tl_tensor *dst, int n_threads)
{
    int64_t per_tile = tile_bytes(step), all = count_tiles(dst);
    tile_slabs slabs = slabs_of(all, per_tile, n_threads);
    int64_t tiles = slabs.n > 0 ? smaller(n_threads, slabs.n) * slab_rows(slabs.longest)
                                : tiles_per_pass(all, per_tile);
    return (size_t)(kept_floats(step) * (int64_t)sizeof(float) + tiles * per_tile);
}

size_t tl_winograd_work(const tl_step *step, int n_threads)
{
    return work_of(step, step->dst, n_threads);
}

size_t tl_winograd_work_backward_data(const tl_step *step, int n_threads)
{
    return work_of(step, step->src[0], n_threads);
}

/* The tiles of a kernel's gradient in n parts of about the same length, at most `longest`; each
 * begins at a multiple of TL_WINOGRAD_STRIDE. */
typedef struct tile_parts {
    int64_t all, strides, n, longest;
} tile_parts;

static int64_t whole_strides(int64_t tiles)
{
    return (tiles + TL_WINOGRAD_STRIDE - 1) / TL_WINOGRAD_STRIDE * TL_WINOGRAD_STRIDE;
}

static bool is_cut(const tl_step *step)
{
    return transformed_floats(step) <= MAX_PART;
}

static tile_parts parts_of(const tl_step *step)
{
    int64_t all = count_tiles(step->dst), strides = whole_strides(all) / TL_WINOGRAD_STRIDE;
    int64_t n = is_cut(step) ? smaller(PARTS, strides) : 1;
    return (tile_parts){all, strides, n, (strides + n - 1) / n * TL_WINOGRAD_STRIDE};
}

/* The first tile of part i, or for i = n the end. */
static int64_t part_begin(const tile_parts *parts, int64_t i)
{
    return smaller(i * parts->strides / parts->n * TL_WINOGRAD_STRIDE, parts->all);
}

/* Tiles of V and Z at a time: of one thread where each has parts of its own, else of all. Of a
 * kernel that is cut, whole strides: threads then change no bit. */
static int64_t tiles_at_a_time(const tl_step *step, int n_threads, bool *alone)
{
    tile_parts parts = parts_of(step);
    int64_t per_tile = tile_bytes(step), stride = TL_WINOGRAD_STRIDE;
    *alone = is_cut(step) && parts.n % n_threads == 0;
    int64_t slab = tiles_in_l2(per_tile) / stride * stride;
    int64_t tiles = *alone ? larger(slab, stride) : tiles_per_pass(parts.longest, per_tile);
    return smaller(is_cut(step) ? whole_strides(tiles) : tiles, parts.longest);
}

size_t tl_winograd_work_backward_weights(const tl_step *step, int n_threads)
{
    bool alone = false;
    int64_t tiles = tiles_at_a_time(step, n_threads, &alone) * (alone ? n_threads : 1);
    int64_t part = transformed_floats(step) + step->dst->dims[3]; /* dU and the bias' */
    return (size_t)(parts_of(step).n * part * (int64_t)sizeof(float) + tiles * tile_bytes(step));
}

/* Tiles [first, first + n) from the source to the destination, by the calling thread; m: its room
 * for M and V of slab_rows(n) tiles. V stands behind M: who reads the 36 matrices of M is followed
 * by the processor's prefetcher beyond the last one, and would take what another thread writes
 * there. */
static void run_slab(const convolution *conv, const float *u, int64_t first, int64_t n, float *m)
{
    const tl_winograd_kernels *kernels = tl_winograd(conv->dtype);
    const tl_winograd_image *src = &conv->src, *dst = &conv->dst;
    int64_t tiles_h = (dst->h + 3) / 4, tiles_w = (dst->w + 3) / 4, rows = slab_rows(n);
    float *v = m + 36 * rows * dst->c;
    tl_winograd_rows v_rows = {rows * src->c, src->c, kernels->block};
    kernels->transform_src(src, tiles_h, tiles_w, conv->top, conv->left, first, first + n, first,
                           &v_rows, v);
    for (int64_t i = 0; i < 36; i++)
        kernels->multiply(v + i * rows * src->c, u + i * src->c * dst->c, m + i * rows * dst->c, 0,
                          n, src->c, dst->c);
    kernels->transform_dst(m, first, rows, tiles_h, tiles_w, first, first + n, &conv->end, dst);
}

/* work: room for the longest slab of each thread. Neighbours in the image are one thread's: their
 * tiles overlap. */
static void run_slabs(const convolution *conv, const float *u, const tile_slabs *slabs,
                      float *work)
{
    int64_t room = 36 * slab_rows(slabs->longest) * (conv->src.c + conv->dst.c);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < slabs->n; i++) {
        int64_t first = slab_begin(slabs, i), end = slab_begin(slabs, i + 1);
        run_slab(conv, u, first, end - first, work + omp_get_thread_num() * room);
    }
}

/* v: room for V and M of a pass of so many tiles. */
static void run_passes(const convolution *conv, const float *u, int64_t all, int64_t pass,
                       float *v)
{
    const tl_winograd_kernels *kernels = tl_winograd(conv->dtype);
    const tl_winograd_image *src = &conv->src, *dst = &conv->dst;
    int64_t tiles_h = (dst->h + 3) / 4, tiles_w = (dst->w + 3) / 4, block = kernels->block;
    float *m = v + 36 * pass * src->c;
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

/* u: packed kernels; work: what tl_winograd_work asked for, behind a trained kernel's U. */
static void run(const convolution *conv, const float *u, float *work)
{
    const tl_winograd_image *src = &conv->src, *dst = &conv->dst;
    int64_t all = dst->n * ((dst->h + 3) / 4) * ((dst->w + 3) / 4);
    int64_t per_tile = 36 * (src->c + dst->c) * (int64_t)sizeof(float);
    tile_slabs slabs = slabs_of(all, per_tile, omp_get_max_threads());
    if (slabs.n > 0)
        run_slabs(conv, u, &slabs, work);
    else
        run_passes(conv, u, all, tiles_per_pass(all, per_tile), work);
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
    run(&conv, u, (float *)step->work[TL_WORK_FORWARD] + kept_floats(step));
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
    run(&conv, u, (float *)step->work[TL_WORK_BACKWARD] + kept_floats(step));
}

/* The gradient of one kernel: dU (36, k / panel, c, panel) of each part of the tiles, and the
 * bias' gradient (k) of each or NULL. */
typedef struct kernel_gradient {
    const tl_winograd_kernels *kernels;
    tl_winograd_image src, diff;
    int64_t top, left, tiles_h, tiles_w;
    tile_parts parts;
    float *du, *diff_bias;
} kernel_gradient;

static float *du_of(const kernel_gradient *g, int64_t part)
{
    return g->du + part * 36 * g->src.c * g->diff.c;
}

/* V and Z of the n tiles from `first` on in this part: product (i, p) of their sums. */
static void add_product(const kernel_gradient *g, int64_t part, const float *v, const float *z,
                        int64_t n, int64_t job, bool adds)
{
    int64_t c = g->src.c, k = g->diff.c, panel = g->kernels->panel, panels = k / panel;
    int64_t i = job / panels, p = job % panels;
    const float *z_panel = z + job * n * panel;
    float *du = du_of(g, part);
    g->kernels->multiply_transposed(v + i * n * c, z_panel, du + job * c * panel, n, c, adds);
    if (i == TL_WINOGRAD_SUMS && g->diff_bias != NULL)
        g->kernels->sum_rows(z_panel, g->diff_bias + part * k + p * panel, n, adds);
}

static void transform_tiles(const kernel_gradient *g, int64_t t0, int64_t t1, int64_t first,
                            int64_t n, float *v, float *z)
{
    int64_t block = g->kernels->block;
    tl_winograd_rows v_rows = {n * g->src.c, block, n * block};
    g->kernels->transform_src(&g->src, g->tiles_h, g->tiles_w, g->top, g->left, t0, t1, first,
                              &v_rows, v);
    g->kernels->transform_diff(&g->diff, g->tiles_h, g->tiles_w, t0, t1, first, n, z);
}

/* A part by the calling thread, in slabs; v: its room for V and Z of one. */
static void sum_part_alone(const kernel_gradient *g, int64_t part, int64_t slab, float *v)
{
    int64_t begin = part_begin(&g->parts, part), end = part_begin(&g->parts, part + 1);
    int64_t jobs = 36 * g->diff.c / g->kernels->panel;
    for (int64_t first = begin; first < end; first += slab) {
        int64_t n = smaller(slab, end - first);
        float *z = v + 36 * n * g->src.c;
        transform_tiles(g, first, first + n, first, n, v, z);
        for (int64_t job = 0; job < jobs; job++)
            add_product(g, part, v, z, n, job, first > begin);
    }
}

/* A part by all threads, in passes that share V and Z. */
static void sum_part_together(const kernel_gradient *g, int64_t part, int64_t pass, float *v)
{
    int64_t begin = part_begin(&g->parts, part), end = part_begin(&g->parts, part + 1);
    int64_t jobs = 36 * g->diff.c / g->kernels->panel;
    const int64_t few = 8; /* tiles a thread transforms at a time */
#pragma omp parallel
    for (int64_t first = begin; first < end; first += pass) {
        int64_t n = smaller(pass, end - first);
        float *z = v + 36 * n * g->src.c;
#pragma omp for schedule(static)
        for (int64_t t = first; t < first + n; t += few)
            transform_tiles(g, t, smaller(t + few, first + n), first, n, v, z);
#pragma omp for schedule(dynamic)
        for (int64_t job = 0; job < jobs; job++)
            add_product(g, part, v, z, n, job, first > begin);
    }
}

/* The sums of the parts -> the gradients in Keras' layout. */
static void finish_gradient(const kernel_gradient *g, float *diff_kernel, float *diff_bias)
{
    int64_t c = g->src.c, k = g->diff.c, panel = g->kernels->panel, n = g->parts.n;
    const int64_t rows = 16; /* a thread transforms at a time; c is a multiple of them */
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t p = 0; p < k / panel; p++)
        for (int64_t x = 0; x < c; x += rows)
            g->kernels->transform_diff_kernel(g->du + p * c * panel, c * k, n, 36 * c * k, x,
                                              x + rows, c * k, k, diff_kernel + p * panel);
    for (int64_t i = 0; i < (diff_bias != NULL ? k : 0); i++) {
        diff_bias[i] = g->diff_bias[i];
        for (int64_t part = 1; part < n; part++)
            diff_bias[i] += g->diff_bias[part * k + i];
    }
}

void tl_winograd_backward_weights(const tl_step *step)
{
    const int64_t *pads = step->node->attrs.pads;
    tl_winograd_image src = image_of(step->kept_src[0]), diff = image_of(step->dst->diff);
    kernel_gradient g = {
        .kernels = tl_winograd(step->src[0]->dtype),
        .src = src,
        .diff = diff,
        .top = pads[0],
        .left = pads[2],
        .tiles_h = (diff.h + 3) / 4,
        .tiles_w = (diff.w + 3) / 4,
        .parts = parts_of(step),
        .du = step->work[TL_WORK_BACKWARD],
    };
    float *bias = g.du + g.parts.n * 36 * src.c * diff.c, *v = bias + g.parts.n * diff.c;
    g.diff_bias = step->diff_weights[1] != NULL ? bias : NULL;
    bool alone = false;
    int64_t tiles = tiles_at_a_time(step, omp_get_max_threads(), &alone);
    int64_t room = tiles * tile_bytes(step) / (int64_t)sizeof(float);
    if (alone)
#pragma omp parallel for schedule(static)
        for (int64_t part = 0; part < g.parts.n; part++)
            sum_part_alone(&g, part, tiles, v + omp_get_thread_num() * room);
    else
        for (int64_t part = 0; part < g.parts.n; part++)
            sum_part_together(&g, part, tiles, v);
    finish_gradient(&g, step->diff_weights[0], step->diff_weights[1]);
}
