#include "variable.h"

#include <string.h>

#include "base/alloc.h"
#include "base/os.h"

/* From this size on values live outside the heap, which the short-lived arrays of loading and
 * initialising would fragment around them. */
#define MAPPED ((size_t)1 << 18)

tl_status tl_variable_create(tl_variable **out, int rank, const int64_t *dims, tl_error *err)
{
    if (rank < 0 || rank > TL_MAX_RANK)
        return tl_fail(err, TL_SHAPE, "a variable of rank %d; allowed: 0 to %d", rank,
                       TL_MAX_RANK);
    size_t bytes = sizeof(float);
    for (int i = 0; i < rank; i++)
        if (dims[i] < 0 || !tl_mul(bytes, (size_t)dims[i], &bytes))
            return tl_fail(err, TL_SHAPE, "a variable with dimension %lld on axis %d",
                           (long long)dims[i], i);
    tl_variable *v = NULL;
    TL_TRY(tl_calloc((void **)&v, 1, sizeof *v, "a variable", err));
    void *data = NULL;
    v->mapped = bytes >= MAPPED ? bytes : 0;
    tl_status status = v->mapped != 0
                           ? tl_os_map(&data, bytes, "the values of a variable", err)
                           : tl_alloc_aligned(&data, bytes, "the values of a variable", err);
    if (status != TL_OK) {
        tl_free(v);
        return status;
    }
    if (v->mapped == 0)
        memset(data, 0, bytes);
    atomic_init(&v->references, 1);
    atomic_init(&v->version, 1);
    v->rank = rank;
    memcpy(v->dims, dims, (size_t)rank * sizeof *dims);
    v->size = bytes / sizeof(float);
    v->data = data;
    *out = v;
    return TL_OK;
}

void tl_variable_retain(tl_variable *variable)
{
    atomic_fetch_add(&variable->references, 1);
}

void tl_variable_release(tl_variable *variable)
{
    if (variable == NULL || atomic_fetch_sub(&variable->references, 1) != 1)
        return;
    if (variable->mapped != 0)
        tl_os_unmap(variable->data, variable->mapped);
    else
        tl_free(variable->data);
    tl_free(variable);
}

void tl_variable_touch(tl_variable *variable)
{
    atomic_fetch_add(&variable->version, 1);
}
