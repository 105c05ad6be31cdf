#include "alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

/* Test hook state; the countdown is zero (off) in normal use. */
static atomic_long n_calls;
static atomic_long countdown;
static atomic_bool fail_forever;

bool tl_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool tl_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static bool injected_failure(void)
{
    atomic_fetch_add_explicit(&n_calls, 1, memory_order_relaxed);
    if (atomic_load_explicit(&countdown, memory_order_relaxed) <= 0)
        return false;
    if (atomic_fetch_sub(&countdown, 1) != 1)
        return false;
    if (atomic_load(&fail_forever))
        atomic_store(&countdown, 1);
    return true;
}

static tl_status no_memory(size_t count, size_t size, const char *what, tl_error *err)
{
    return tl_fail(err, TL_NOMEM, "not enough memory for %s: %zu x %zu bytes", what, count, size);
}

tl_status tl_calloc(void **out, size_t count, size_t size, const char *what, tl_error *err)
{
    size_t bytes;
    if (!tl_mul(count, size, &bytes) || injected_failure())
        return no_memory(count, size, what, err);
    void *ptr = calloc(1, bytes != 0 ? bytes : 1);
    if (ptr == NULL)
        return no_memory(count, size, what, err);
    *out = ptr;
    return TL_OK;
}

tl_status tl_alloc_aligned(void **out, size_t bytes, const char *what, tl_error *err)
{
    size_t padded;
    if (!tl_add(bytes, TL_ALIGNMENT, &padded) || injected_failure())
        return no_memory(1, bytes, what, err);
    /* aligned_alloc wants a multiple of the alignment */
    void *ptr = aligned_alloc(TL_ALIGNMENT, padded / TL_ALIGNMENT * TL_ALIGNMENT);
    if (ptr == NULL)
        return no_memory(1, bytes, what, err);
    *out = ptr;
    return TL_OK;
}

tl_status tl_realloc(void **ptr, size_t count, size_t size, const char *what, tl_error *err)
{
    size_t bytes;
    if (!tl_mul(count, size, &bytes) || injected_failure())
        return no_memory(count, size, what, err);
    void *grown = realloc(*ptr, bytes != 0 ? bytes : 1);
    if (grown == NULL)
        return no_memory(count, size, what, err);
    *ptr = grown;
    return TL_OK;
}

void tl_free(void *ptr)
{
    free(ptr);
}

void tl_alloc_fail_at(long n, bool forever)
{
    atomic_store(&fail_forever, forever);
    atomic_store(&countdown, n);
}

long tl_alloc_count(void)
{
    return atomic_load(&n_calls);
}
