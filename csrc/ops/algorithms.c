#include "ops/algorithms.h"

#include <pthread.h>
#include <string.h>

#include "base/alloc.h"

/* Some hundred entries at most are looked through once per convolution of a new plan. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static tl_algorithm *table;
static size_t n_entries;

tl_status tl_algorithms_set(const tl_algorithm *entries, size_t n, tl_error *err)
{
    tl_algorithm *copy = NULL;
    if (n > 0) {
        TL_TRY(tl_calloc((void **)&copy, n, sizeof *copy, "a table of algorithms", err));
        memcpy(copy, entries, n * sizeof *copy);
    }
    pthread_mutex_lock(&lock);
    tl_algorithm *old = table;
    table = copy;
    n_entries = n;
    pthread_mutex_unlock(&lock);
    tl_free(old);
    return TL_OK;
}

bool tl_algorithms_find(tl_algorithm *wanted)
{
    bool found = false;
    pthread_mutex_lock(&lock);
    for (size_t i = n_entries; i > 0 && !found; i--) {
        const tl_algorithm *e = &table[i - 1];
        found = e->use == wanted->use && e->dtype == wanted->dtype &&
                e->height == wanted->height && e->width == wanted->width && e->in == wanted->in &&
                e->out == wanted->out;
        if (found)
            wanted->winograd = e->winograd;
    }
    pthread_mutex_unlock(&lock);
    return found;
}
