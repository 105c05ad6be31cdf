/* Files -> batches. Worker threads decode ahead of the consumer into a ring of `depth` batches;
 * what comes out depends on the order alone, never on the number of threads or their timing. */
#ifndef TL_DATA_LOADER_H
#define TL_DATA_LOADER_H

#include <stdbool.h>

#include "data/batch.h"
#include "image/resize.h"

typedef struct tl_loader tl_loader;

typedef struct tl_loader_options {
    const char *const *paths; /* (n_paths), copied */
    size_t n_paths;
    tl_resize_spec spec; /* height, width, interpolation, pipeline, fit */
    int channels;        /* 1, 3 or 4 */
    uint64_t max_pixels;
    int threads;   /* 0: one per CPU this process may use */
    int depth;     /* batches decoded ahead, 1 to 64: the bound of the loader's memory */
    bool skip_bad; /* leave rows that cannot be read out of their batch */
} tl_loader_options;

tl_status tl_loader_create(tl_loader **out, const tl_loader_options *options, tl_error *err);

/* Stops the threads and waits for them. NULL is fine. Batches already handed out stay valid. */
void tl_loader_destroy(tl_loader *loader);

/* Begins to decode paths[order[0]], ...: sizes[k] images make batch k. Ends a run that is under
 * way. order and sizes are copied. */
tl_status tl_loader_start(tl_loader *loader, const int64_t *order, size_t n_order,
                          const int64_t *sizes, size_t n_sizes, tl_error *err);

/* Waits up to timeout_ms for the next batch. TL_OK with *ready false: not yet, call again. With
 * *ready true *out is the batch, which the caller releases, or NULL at the end of the run. A bad
 * file (unless skip_bad) or lack of memory ends the run: this call and later ones give its error.
 * A batch with skip_bad lists its bad rows in out->bad, sorted. In a forked child the run goes on
 * with threads of its own. One consumer at a time. */
tl_status tl_loader_next(tl_loader *loader, int timeout_ms, bool *ready, tl_batch **out,
                         tl_error *err);

int tl_loader_threads(const tl_loader *loader);

/* Whether batches are uint8 (nearest neighbours in the KERAS pipeline, as TensorFlow has it) and
 * not float32. */
bool tl_loader_is_u8(const tl_loader *loader);

#endif
