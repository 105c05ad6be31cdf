#include "data/batch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/os.h"

struct tl_batch_pool {
    size_t row_bytes;
    size_t keep;
    pid_t pid; /* in a forked child the lock may be held by a thread that is gone */
    atomic_size_t n_references; /* the owner and every batch outside the free list */
    pthread_mutex_t lock;       /* protects what follows */
    bool closed;
    tl_batch *free; /* list */
    size_t n_free;
};

tl_status tl_batch_pool_create(tl_batch_pool **out, size_t row_bytes, size_t keep, tl_error *err)
{
    void *memory;
    TL_TRY(tl_calloc(&memory, 1, sizeof(tl_batch_pool), "a pool of batches", err));
    tl_batch_pool *pool = memory;
    pool->row_bytes = row_bytes;
    pool->keep = keep;
    pool->pid = getpid();
    atomic_init(&pool->n_references, 1);
    if (pthread_mutex_init(&pool->lock, NULL) != 0) {
        tl_free(pool);
        return tl_fail(err, TL_NOMEM, "cannot make a lock for a pool of batches");
    }
    *out = pool;
    return TL_OK;
}

static void destroy_batch(tl_batch *batch)
{
    tl_os_free_values(batch->pixels, batch->bytes);
    tl_free(batch->ids);
    tl_free(batch->bad);
    tl_free(batch);
}

static void drop_reference(tl_batch_pool *pool)
{
    if (atomic_fetch_sub(&pool->n_references, 1) != 1)
        return;
    pthread_mutex_destroy(&pool->lock);
    tl_free(pool);
}

/* Empties the free list and returns it. */
static tl_batch *detach_free(tl_batch_pool *pool)
{
    tl_batch *list = pool->free;
    pool->free = NULL;
    pool->n_free = 0;
    return list;
}

static void destroy_list(tl_batch *list)
{
    while (list != NULL) {
        tl_batch *next = list->next;
        destroy_batch(list);
        list = next;
    }
}

void tl_batch_pool_close(tl_batch_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closed = true;
    tl_batch *list = detach_free(pool);
    pthread_mutex_unlock(&pool->lock);
    destroy_list(list);
    drop_reference(pool);
}

static tl_status create_batch(size_t row_bytes, size_t capacity, tl_batch **out, tl_error *err)
{
    void *memory;
    size_t bytes;
    if (!tl_mul(row_bytes, capacity, &bytes))
        return tl_fail(err, TL_NOMEM, "a batch of %zu images of %zu bytes is too large", capacity,
                       row_bytes);
    TL_TRY(tl_calloc(&memory, 1, sizeof(tl_batch), "a batch", err));
    tl_batch *batch = memory;
    tl_status status;
    TL_TRY_GOTO(tl_os_alloc_values(&batch->pixels, bytes, "the pixels of a batch", err));
    batch->bytes = bytes;
    TL_TRY_GOTO(tl_calloc(&memory, capacity, sizeof(int64_t), "the indices of a batch", err));
    batch->ids = memory;
    batch->capacity = capacity;
    *out = batch;
    return TL_OK;
fail:
    destroy_batch(batch);
    return status;
}

tl_status tl_batch_pool_take(tl_batch_pool *pool, size_t rows, size_t capacity, tl_batch **out,
                             tl_error *err)
{
    pthread_mutex_lock(&pool->lock);
    tl_batch *batch = pool->free, *too_small = NULL;
    if (batch != NULL && batch->capacity < capacity) {
        too_small = detach_free(pool); /* all are of one size, that of an earlier run */
        batch = NULL;
    } else if (batch != NULL) {
        pool->free = batch->next;
        pool->n_free--;
    }
    pthread_mutex_unlock(&pool->lock);
    destroy_list(too_small);
    if (batch == NULL)
        TL_TRY(create_batch(pool->row_bytes, capacity, &batch, err));
    atomic_fetch_add(&pool->n_references, 1);
    batch->pool = pool; /* NOLINT(clang-analyzer-core.NullDereference): made, or an error */
    batch->rows = rows;
    batch->next = NULL;
    *out = batch;
    return TL_OK;
}

void tl_batch_release(tl_batch *batch)
{
    if (batch == NULL)
        return;
    tl_batch_pool *pool = batch->pool;
    tl_free(batch->bad);
    batch->bad = NULL;
    batch->n_bad = 0;
    bool kept = false;
    if (pool->pid == getpid()) {
        pthread_mutex_lock(&pool->lock);
        kept = !pool->closed && pool->n_free < pool->keep;
        if (kept) {
            batch->next = pool->free;
            pool->free = batch;
            pool->n_free++;
        }
        pthread_mutex_unlock(&pool->lock);
    }
    if (!kept)
        destroy_batch(batch);
    drop_reference(pool);
}

tl_status tl_batch_add_bad(tl_batch *batch, size_t row, const tl_error *error, tl_error *err)
{
    void *list = batch->bad;
    TL_TRY(tl_realloc(&list, batch->n_bad + 1, sizeof *batch->bad, "a list of bad images", err));
    batch->bad = list;
    batch->bad[batch->n_bad++] = (tl_bad_row){row, batch->ids[row], *error};
    return TL_OK;
}

static int compare_bad(const void *a, const void *b)
{
    size_t x = ((const tl_bad_row *)a)->row, y = ((const tl_bad_row *)b)->row;
    return (x > y) - (x < y);
}

void tl_batch_sort_bad(tl_batch *batch)
{
    if (batch->n_bad > 1)
        qsort(batch->bad, batch->n_bad, sizeof *batch->bad, compare_bad);
}

void tl_batch_drop_bad(tl_batch *batch)
{
    size_t row_bytes = batch->pool->row_bytes, to = 0, bad = 0;
    uint8_t *pixels = batch->pixels;
    for (size_t row = 0; row < batch->rows; row++) {
        if (bad < batch->n_bad && batch->bad[bad].row == row) {
            bad++;
            continue;
        }
        if (to != row) {
            memcpy(pixels + to * row_bytes, pixels + row * row_bytes, row_bytes);
            batch->ids[to] = batch->ids[row];
        }
        to++;
    }
    batch->rows = to;
}
