/* Batches of pixels whose memory outlives the loader and goes back to it. */
#ifndef TL_DATA_BATCH_H
#define TL_DATA_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct tl_batch_pool tl_batch_pool;

/* One row that could not be loaded. */
typedef struct tl_bad_row {
    size_t row; /* place in the batch as it was ordered */
    int64_t id;
    tl_error error; /* names the file */
} tl_bad_row;

typedef struct tl_batch {
    tl_batch_pool *pool; /* counted reference */
    void *pixels;        /* (rows, height, width, channels), owned, aligned */
    int64_t *ids;        /* (rows), owned */
    size_t bytes;        /* of pixels */
    size_t rows;         /* filled; room for `capacity` */
    size_t capacity;     /* rows */
    tl_bad_row *bad;     /* (n_bad), owned, in order of arrival until tl_batch_sort_bad */
    size_t n_bad;
    struct tl_batch *next; /* in the pool's free list */
} tl_batch;

/* `keep`: how many returned batches wait for their next use, the others are freed. */
tl_status tl_batch_pool_create(tl_batch_pool **out, size_t row_bytes, size_t keep, tl_error *err);

/* The owner's end: returned batches are freed from now on. The last batch frees the pool. */
void tl_batch_pool_close(tl_batch_pool *pool);

/* A batch with room for `capacity` rows, `rows` of them in use, pixels not initialised. */
tl_status tl_batch_pool_take(tl_batch_pool *pool, size_t rows, size_t capacity, tl_batch **out,
                             tl_error *err);

/* Gives a batch back from any thread, also after tl_batch_pool_close and in a forked child. */
void tl_batch_release(tl_batch *batch);

/* Appends to batch->bad; not thread-safe, the loader's lock protects it. */
tl_status tl_batch_add_bad(tl_batch *batch, size_t row, const tl_error *error, tl_error *err);

/* Sorts the bad rows by place. */
void tl_batch_sort_bad(tl_batch *batch);

/* Closes the gaps of the (sorted) bad rows; the order of the others stays. */
void tl_batch_drop_bad(tl_batch *batch);

#endif
