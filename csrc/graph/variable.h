/* A weight, statistic or optimizer slot: float32, row-major, in Keras' axis order (a convolution
 * kernel is (kh, kw, in, out)). Layers, plans and optimizers share one by reference count. */
#ifndef TL_GRAPH_VARIABLE_H
#define TL_GRAPH_VARIABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define TL_MAX_RANK 5

typedef struct tl_variable {
    atomic_int references;
    int rank;
    int64_t dims[TL_MAX_RANK];
    size_t size;  /* elements */
    float *data;  /* owned, TL_ALIGNMENT; the address never changes */
    bool in_file; /* data is what a file holds, not written since */
    int writers;  /* optimizers that may write data at any time */
    atomic_uint_fast64_t
        version; /* grows with every write: what was packed from it is stale then */
} tl_variable;

/* Zeroed; one reference, the caller's. */
tl_status tl_variable_create(tl_variable **out, int rank, const int64_t *dims, tl_error *err);

/* Gives a variable that nobody else knows yet the values that lie at offset of a file, in this
 * machine's byte order. */
tl_status tl_variable_fill(tl_variable *variable, int file, int64_t offset, tl_error *err);

void tl_variable_retain(tl_variable *variable);
void tl_variable_release(tl_variable *variable); /* NULL is fine; the last one frees */

/* Copies all values in, and n of them out, from number start on. Any thread. */
void tl_variable_assign(tl_variable *variable, const float *values);
void tl_variable_read(tl_variable *variable, size_t start, size_t n, float *values);

/* Between the two calls the holder may write data directly, on the compute thread. */
void tl_variable_add_writer(tl_variable *variable);
void tl_variable_remove_writer(tl_variable *variable);

/* Moves the values of a large variable that nobody writes into a file, at offset (a multiple of
 * TL_LARGE); *moved tells whether it did, which takes the bytes of the variable there. Values read
 * as before. */
tl_status tl_variable_page_out(tl_variable *variable, int file, int64_t offset, bool *moved,
                               tl_error *err);

/* The reader is done with the values for long: those in a file give their memory back. */
void tl_variable_drop_pages(tl_variable *variable);

/* To be called after data was written. */
void tl_variable_touch(tl_variable *variable);

#endif
