#include "pack.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/os.h"
#include "base/values.h"
#include "kernels/winograd.h"
#include "ops/norm.h"

struct tl_pool {
    atomic_int references;
    tl_pack *first; /* owned list */
    size_t bytes;
    void *arena;           /* reserved addresses, owned; NULL before the first plan */
    size_t arena_reserved; /* of them */
    size_t arena_usable;
};

/* Addresses only: more than any machine has memory for would fail at run time anyway. */
#define ARENA_RESERVED ((size_t)1 << 40)

tl_status tl_pool_create(tl_pool **out, tl_error *err)
{
    tl_pool *pool = NULL;
    TL_TRY(tl_calloc((void **)&pool, 1, sizeof *pool, "packed weights", err));
    atomic_init(&pool->references, 1);
    *out = pool;
    return TL_OK;
}

void tl_pool_retain(tl_pool *pool)
{
    atomic_fetch_add(&pool->references, 1);
}

static void free_pack(tl_pack *pack)
{
    tl_variable_release(pack->kernel);
    tl_variable_release(pack->bias);
    for (int i = 0; i < 4; i++)
        tl_variable_release(pack->norm[i]);
    if (pack->md != NULL)
        tl_dnn.memory_desc_destroy(pack->md);
    tl_values_free(pack->data, pack->bytes);
    tl_free(pack);
}

void tl_pool_release(tl_pool *pool)
{
    if (pool == NULL || atomic_fetch_sub(&pool->references, 1) != 1)
        return;
    while (pool->first != NULL) {
        tl_pack *pack = pool->first;
        pool->first = pack->next;
        free_pack(pack);
    }
    tl_os_unmap(pool->arena, pool->arena_reserved);
    tl_free(pool);
}

#define ARENA_UNIT ((size_t)1 << 21) /* huge pages */

/* A limit on addresses (RLIMIT_AS) may allow less than one would like. Then half of what it allows
 * is left for weights and all else. */
static tl_status reserve_arena(tl_pool *pool, size_t bytes, tl_error *err)
{
    size_t size = ARENA_RESERVED;
    for (; pool->arena == NULL; size /= 4) {
        tl_error refusal = {0};
        pool->arena_reserved = size;
        if (tl_os_reserve(&pool->arena, size, "activations", &refusal) != TL_OK &&
            size / 4 < bytes + ARENA_UNIT)
            return tl_fail(err, TL_NOMEM, "%s", refusal.text);
    }
    size_t half = pool->arena_reserved / 2;
    if (pool->arena_reserved < ARENA_RESERVED && half >= bytes + ARENA_UNIT) {
        tl_os_unmap((char *)pool->arena + half, half);
        pool->arena_reserved = half;
    }
    return TL_OK;
}

tl_status tl_pool_arena(tl_pool *pool, size_t bytes, void **out, tl_error *err)
{
    if (pool->arena == NULL)
        TL_TRY(reserve_arena(pool, bytes, err));
    if (bytes > pool->arena_reserved - ARENA_UNIT)
        return tl_fail(err, TL_NOMEM, "a plan of %zu MB; the process may address %zu MB for it",
                       bytes >> 20, pool->arena_reserved >> 20);
    *out = pool->arena;
    return TL_OK;
}

tl_status tl_pool_commit(tl_pool *pool, size_t bytes, tl_error *err)
{
    size_t whole = (bytes + ARENA_UNIT) / ARENA_UNIT * ARENA_UNIT; /* never nothing */
    if (whole <= pool->arena_usable)
        return TL_OK;
    TL_TRY(tl_os_commit(pool->arena, whole, "a plan's activations", err));
    pool->arena_usable = whole;
    return TL_OK;
}

void tl_pool_discard(tl_pool *pool, tl_variable *const *kernels, int n)
{
    for (tl_pack *pack = pool->first; pack != NULL; pack = pack->next)
        for (int i = 0; i < n && pack->kind != TL_PACK_BIAS && pack->version != 0; i++)
            if (kernels[i] == pack->kernel && pack->bytes >= TL_LARGE) {
                tl_os_drop_pages(pack->data, pack->bytes);
                pack->version = 0;
            }
}

size_t tl_pool_committed(const tl_pool *pool)
{
    return pool->arena_usable;
}

size_t tl_pool_bytes(const tl_pool *pool)
{
    return pool->bytes;
}

static bool is_same(const tl_pack *pack, const tl_variable *kernel, const tl_node *norm, int role)
{
    if (pack->kernel != kernel || pack->role != role || pack->has_norm != (norm != NULL))
        return false;
    return norm == NULL || (pack->epsilon == norm->attrs.epsilon &&
                            memcmp(pack->norm, norm->weights, sizeof pack->norm) == 0);
}

const_dnnl_memory_desc_t tl_pool_find_md(const tl_pool *pool, const tl_variable *kernel,
                                         const tl_node *norm, int role)
{
    for (const tl_pack *pack = pool->first; pack != NULL; pack = pack->next)
        if (pack->md != NULL && is_same(pack, kernel, norm, role))
            return pack->md;
    return NULL;
}

tl_status tl_pool_get(tl_pool *pool, tl_pack_kind kind, tl_variable *kernel, tl_variable *bias,
                      const tl_node *norm, int role, int64_t n_out, int64_t groups,
                      const_dnnl_memory_desc_t md, tl_pack **out, tl_error *err)
{
    for (tl_pack *pack = pool->first; pack != NULL; pack = pack->next)
        if (pack->kind == kind && pack->bias == bias && is_same(pack, kernel, norm, role) &&
            (md == NULL || tl_dnn.memory_desc_equal(pack->md, md))) {
            *out = pack;
            return TL_OK;
        }
    tl_pack *pack = NULL;
    TL_TRY(tl_calloc((void **)&pack, 1, sizeof *pack, "packed weights", err));
    tl_status status = TL_OK;
    pack->kind = kind;
    pack->role = role;
    pack->n_out = n_out;
    pack->groups = groups;
    tl_variable_retain(kernel);
    pack->kernel = kernel;
    if (bias != NULL)
        tl_variable_retain(bias);
    pack->bias = bias;
    pack->has_norm = norm != NULL;
    for (int i = 0; norm != NULL && i < 4; i++)
        if ((pack->norm[i] = norm->weights[i]) != NULL)
            tl_variable_retain(pack->norm[i]);
    pack->epsilon = norm != NULL ? norm->attrs.epsilon : 0.f;
    /* Blocked kernels read bias in whole registers: room for the padded channels. */
    size_t bytes = ((size_t)n_out + 15) / 16 * 16 * sizeof(float);
    if (kind == TL_PACK_WINOGRAD || kind == TL_PACK_WINOGRAD_TRANSPOSED)
        bytes = 36 * (kernel->size / 9) * sizeof(float);
    if (md != NULL) {
        TL_DNN_GOTO(tl_dnn.memory_desc_clone(&pack->md, md), "copying a weights layout");
        bytes = tl_dnn.memory_desc_get_size(md);
    }
    TL_TRY_GOTO(tl_values_alloc((void **)&pack->data, bytes, "packed weights", err));
    pack->bytes = bytes;
    pack->next = pool->first;
    pool->first = pack;
    pool->bytes += bytes;
    *out = pack;
    return TL_OK;
fail:
    free_pack(pack);
    return status;
}

static uint64_t current_version(const tl_pack *pack)
{
    uint64_t version = atomic_load(&pack->kernel->version);
    if (pack->bias != NULL)
        version += atomic_load(&pack->bias->version);
    for (int i = 0; i < 4; i++)
        if (pack->norm[i] != NULL)
            version += atomic_load(&pack->norm[i]->version);
    return version;
}

/* gamma / sqrt(variance + epsilon) of output channel c; 1 without a batch norm. */
static float norm_scale(const tl_pack *pack, int64_t c)
{
    if (!pack->has_norm)
        return 1.f;
    double gamma = pack->norm[TL_GAMMA] != NULL ? pack->norm[TL_GAMMA]->data[c] : 1.0;
    return (float)(gamma / sqrt((double)pack->norm[TL_VARIANCE]->data[c] + pack->epsilon));
}

static void pack_bias(tl_pack *pack)
{
    for (int64_t c = 0; c < pack->n_out; c++) {
        double bias = pack->bias != NULL ? pack->bias->data[c] : 0.0;
        if (pack->has_norm) {
            double beta = pack->norm[TL_BETA] != NULL ? pack->norm[TL_BETA]->data[c] : 0.0;
            bias = beta + (bias - (double)pack->norm[TL_MEAN]->data[c]) * norm_scale(pack, c);
        }
        pack->data[c] = (float)bias;
    }
}

tl_status tl_kernel_md(dnnl_memory_desc_t *md, tl_pack_kind kind, const tl_variable *kernel,
                       int64_t groups, tl_error *err)
{
    int64_t kh = kernel->dims[0], kw = kernel->dims[1], in = kernel->dims[2],
            out = kernel->dims[3];
    dnnl_status_t made;
    if (kind == TL_PACK_DEPTHWISE) { /* (g, oc/g, 1, kh, kw) over (kh, kw, c, m) */
        dnnl_dims_t dims = {in, out, 1, kh, kw};
        dnnl_dims_t strides = {out, 1, 1, kw * in * out, in * out};
        made = tl_dnn.memory_desc_create_with_strides(md, 5, dims, dnnl_f32, strides);
    } else if (groups > 1) { /* (g, oc/g, ic/g, kh, kw) over (kh, kw, ic/g, oc) */
        dnnl_dims_t dims = {groups, out / groups, in, kh, kw};
        dnnl_dims_t strides = {out / groups, 1, out, kw * in * out, in * out};
        made = tl_dnn.memory_desc_create_with_strides(md, 5, dims, dnnl_f32, strides);
    } else {
        dnnl_dims_t dims = {out, in, kh, kw};
        dnnl_dims_t strides = {1, out, kw * in * out, in * out};
        made = tl_dnn.memory_desc_create_with_strides(md, 4, dims, dnnl_f32, strides);
    }
    return made == dnnl_success ? TL_OK : tl_dnn_fail(err, made, "describing a kernel");
}

static tl_status reorder(const_dnnl_memory_desc_t from, void *src, const_dnnl_memory_desc_t to,
                         void *dst, dnnl_stream_t stream, tl_error *err)
{
    tl_status status = TL_OK;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t memory[2] = {NULL, NULL};
    TL_DNN_GOTO(
        tl_dnn.reorder_primitive_desc_create(&pd, from, tl_dnn.engine, to, tl_dnn.engine, NULL),
        "packing weights");
    TL_DNN_GOTO(tl_dnn.primitive_create(&primitive, pd), "packing weights");
    TL_DNN_GOTO(tl_dnn.memory_create(&memory[0], from, tl_dnn.engine, src), "packing weights");
    TL_DNN_GOTO(tl_dnn.memory_create(&memory[1], to, tl_dnn.engine, dst), "packing weights");
    dnnl_exec_arg_t args[2] = {{DNNL_ARG_SRC, memory[0]}, {DNNL_ARG_DST, memory[1]}};
    TL_DNN_GOTO(tl_dnn.primitive_execute(primitive, stream, 2, args), "packing weights");
    TL_DNN_GOTO(tl_dnn.stream_wait(stream), "packing weights");
fail:
    tl_dnn.memory_destroy(memory[0]);
    tl_dnn.memory_destroy(memory[1]);
    tl_dnn.primitive_destroy(primitive);
    tl_dnn.primitive_desc_destroy(pd);
    return status;
}

/* The factors of all output channels; *out is the caller's. */
static tl_status make_scales(const tl_pack *pack, float **out, tl_error *err)
{
    TL_TRY(tl_alloc_aligned((void **)out, (size_t)pack->n_out * sizeof(float),
                            "folding batch norm", err));
    for (int64_t c = 0; c < pack->n_out; c++)
        (*out)[c] = norm_scale(pack, c);
    return TL_OK;
}

/* The last axis (or the last two of a depthwise kernel) counts output channels. */
static void scale_channels(const tl_pack *pack, const float *scale, float *scaled)
{
    const float *values = pack->kernel->data;
    int64_t n_out = pack->n_out, rows = (int64_t)pack->kernel->size / n_out;
#pragma omp parallel for
    for (int64_t row = 0; row < rows; row++)
        for (int64_t c = 0; c < n_out; c++)
            scaled[row * n_out + c] = values[row * n_out + c] * scale[c];
}

static tl_status pack_kernel(tl_pool *pool, tl_pack *pack, dnnl_stream_t stream, tl_error *err)
{
    tl_status status = TL_OK;
    dnnl_memory_desc_t md = NULL;
    float *scale = NULL, *allocated = NULL;
    float *values = pack->kernel->data;
    size_t bytes = pack->kernel->size * sizeof(float);
    TL_TRY_GOTO(tl_kernel_md(&md, pack->kind, pack->kernel, pack->groups, err));
    if (pack->has_norm) {
        TL_TRY_GOTO(make_scales(pack, &scale, err));
        if (bytes > pool->arena_usable)
            TL_TRY_GOTO(tl_os_alloc_values((void **)&allocated, bytes, "folding batch norm", err));
        values = allocated != NULL ? allocated : pool->arena;
        scale_channels(pack, scale, values);
    }
    TL_TRY_GOTO(reorder(md, values, pack->md, pack->data, stream, err));
fail:
    tl_free(scale);
    tl_os_free_values(allocated, bytes);
    if (md != NULL)
        tl_dnn.memory_desc_destroy(md);
    return status;
}

static tl_status pack_winograd(tl_pack *pack, tl_error *err)
{
    float *scale = NULL;
    TL_TRY(make_scales(pack, &scale, err));
    tl_winograd_pack(pack->kernel->data, scale, pack->kernel->dims[2], pack->n_out, pack->data);
    tl_free(scale);
    return TL_OK;
}

tl_status tl_pack_refresh(tl_pool *pool, tl_pack *pack, dnnl_stream_t stream, tl_error *err)
{
    uint64_t version = current_version(pack);
    if (pack->version == version)
        return TL_OK;
    if (pack->kind == TL_PACK_BIAS)
        pack_bias(pack);
    else if (pack->kind == TL_PACK_WINOGRAD_TRANSPOSED)
        tl_winograd_pack_transposed(pack->kernel->data, pack->kernel->dims[2],
                                    pack->kernel->dims[3], pack->data);
    else if (pack->kind == TL_PACK_WINOGRAD)
        TL_TRY(pack_winograd(pack, err));
    else
        TL_TRY(pack_kernel(pool, pack, stream, err));
    pack->version = version;
    tl_variable_drop_pages(pack->kernel);
    return TL_OK;
}
