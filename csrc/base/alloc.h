/* Checked allocation. All sizes go through tl_mul/tl_add, so no product of shapes can wrap. */
#ifndef TL_BASE_ALLOC_H
#define TL_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

#include "status.h"

#define TL_ALIGNMENT 64 /* one cache line, one AVX-512 register */

/* *out = a * b, or a + b; false when the result does not fit. */
bool tl_mul(size_t a, size_t b, size_t *out);
bool tl_add(size_t a, size_t b, size_t *out);

/* count * size zeroed bytes, ordinary alignment; count or size 0 gives a valid pointer.
 * `what` names the purpose in the error. Release with tl_free. */
tl_status tl_calloc(void **out, size_t count, size_t size, const char *what, tl_error *err);

/* Uninitialised, aligned to TL_ALIGNMENT. Release with tl_free. */
tl_status tl_alloc_aligned(void **out, size_t bytes, const char *what, tl_error *err);

/* *ptr (from tl_calloc, or NULL) resized to count * size bytes; on failure *ptr stays valid. New
 * bytes are not initialised. */
tl_status tl_realloc(void **ptr, size_t count, size_t size, const char *what, tl_error *err);

void tl_free(void *ptr); /* NULL is fine */

/* Test hook: the n-th allocation from now on fails (once, or every one after it too), n <= 0
 * switches it off. tl_alloc_count() counts calls since the start of the process. Set only while no
 * other thread runs core code. */
void tl_alloc_fail_at(long n, bool forever);
long tl_alloc_count(void);

#endif
