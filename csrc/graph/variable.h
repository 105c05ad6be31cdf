/* A weight, statistic or optimizer slot: float32, row-major, in Keras' axis order (a convolution
 * kernel is (kh, kw, in, out)). Layers, plans and optimizers share one by reference count. */
#ifndef TL_GRAPH_VARIABLE_H
#define TL_GRAPH_VARIABLE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define TL_MAX_RANK 5

typedef struct tl_variable {
    atomic_int references;
    int rank;
    int64_t dims[TL_MAX_RANK];
    size_t size; /* elements */
    float *data; /* owned, TL_ALIGNMENT */
    atomic_uint_fast64_t
        version; /* grows with every write: what was packed from it is stale then */
} tl_variable;

/* Zeroed; one reference, the caller's. */
tl_status tl_variable_create(tl_variable **out, int rank, const int64_t *dims, tl_error *err);

void tl_variable_retain(tl_variable *variable);
void tl_variable_release(tl_variable *variable); /* NULL is fine; the last one frees */

/* To be called after data was written. */
void tl_variable_touch(tl_variable *variable);

#endif
