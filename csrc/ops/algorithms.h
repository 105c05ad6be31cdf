/* Which 3x3 convolutions run by Winograd's algorithm: a table from types and shapes to answers,
 * measured on some machine, in front of the rule of ops/winograd.c. No batch size is in it, so
 * that an image's bits do not depend on its neighbours. One for the process; plans made before
 * keep theirs. */
#ifndef TL_OPS_ALGORITHMS_H
#define TL_OPS_ALGORITHMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

typedef enum tl_algorithm_use {
    TL_USE_INFERENCE,
    TL_USE_FORWARD, /* of a training step */
    TL_USE_BACKWARD_DATA,
    TL_USE_BACKWARD_WEIGHTS,
    TL_USE_COUNT
} tl_algorithm_use;

typedef struct tl_algorithm {
    tl_algorithm_use use;
    tl_dtype dtype;        /* of what is read */
    int64_t height, width; /* of the result */
    int64_t in, out;       /* channels */
    bool winograd;         /* the answer */
} tl_algorithm;

/* Replaces the table by n entries, which are copied; of equal keys the last one counts. */
tl_status tl_algorithms_set(const tl_algorithm *entries, size_t n, tl_error *err);

/* The entry with the key of *wanted: fills its answer, or returns false. */
bool tl_algorithms_find(tl_algorithm *wanted);

#endif
