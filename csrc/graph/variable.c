#include "variable.h"

#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/os.h"
#include "base/values.h"

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
    tl_status status = tl_values_alloc(&data, bytes, "the values of a variable", err);
    if (status != TL_OK) {
        tl_free(v);
        return status;
    }
    atomic_init(&v->references, 1);
    atomic_init(&v->version, 1);
    v->rank = rank;
    memcpy(v->dims, dims, (size_t)rank * sizeof *dims);
    v->size = bytes / sizeof(float);
    v->data = data;
    *out = v;
    return TL_OK;
}

tl_status tl_variable_fill(tl_variable *v, int file, int64_t offset, tl_error *err)
{
    return tl_os_read(file, v->data, v->size * sizeof(float), offset, err);
}

void tl_variable_retain(tl_variable *variable)
{
    atomic_fetch_add(&variable->references, 1);
}

void tl_variable_release(tl_variable *variable)
{
    if (variable == NULL || atomic_fetch_sub(&variable->references, 1) != 1)
        return;
    tl_values_free(variable->data, variable->size * sizeof(float));
    tl_free(variable);
}

/* Guards in_file and writers of all variables, and the copies that must not meet a page-out:
 * dropping pages while somebody writes them would lose what was written. */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

static void drop_pages_locked(tl_variable *v)
{
    if (v->in_file)
        tl_os_drop_pages(v->data, v->size * sizeof(float));
}

void tl_variable_assign(tl_variable *v, const float *values)
{
    pthread_mutex_lock(&guard);
    v->in_file = false;
    memcpy(v->data, values, v->size * sizeof(float));
    tl_variable_touch(v);
    pthread_mutex_unlock(&guard);
}

void tl_variable_read(tl_variable *v, size_t start, size_t n, float *values)
{
    pthread_mutex_lock(&guard);
    memcpy(values, v->data + start, n * sizeof(float));
    drop_pages_locked(v);
    pthread_mutex_unlock(&guard);
}

void tl_variable_add_writer(tl_variable *v)
{
    pthread_mutex_lock(&guard);
    v->in_file = false;
    v->writers++;
    pthread_mutex_unlock(&guard);
}

void tl_variable_remove_writer(tl_variable *v)
{
    pthread_mutex_lock(&guard);
    v->writers--;
    pthread_mutex_unlock(&guard);
}

tl_status tl_variable_page_out(tl_variable *v, int file, int64_t offset, bool *moved,
                               tl_error *err)
{
    size_t bytes = v->size * sizeof(float);
    tl_status status = TL_OK;
    *moved = false;
    pthread_mutex_lock(&guard);
    if (bytes >= TL_LARGE && v->writers == 0 && !v->in_file) {
        status = tl_os_page_out(v->data, bytes, file, offset, err);
        *moved = v->in_file = status == TL_OK;
    }
    pthread_mutex_unlock(&guard);
    return status;
}

void tl_variable_drop_pages(tl_variable *v)
{
    pthread_mutex_lock(&guard);
    drop_pages_locked(v);
    pthread_mutex_unlock(&guard);
}

void tl_variable_touch(tl_variable *variable)
{
    atomic_fetch_add(&variable->version, 1);
}
