#include "values.h"

#include <pthread.h>
#include <stdint.h>

#include "alloc.h"
#include "os.h"

#define PAGE ((size_t)1 << 12)
#define HUGE_PAGE ((size_t)1 << 21)
#define SLAB ((size_t)1 << 26)    /* addresses, in which arrays follow one another */
#define LARGEST ((size_t)1 << 23) /* in a slab; a larger array has huge pages of its own */

/* Places are used once: what is freed gives its pages back at once, the addresses when nothing of
 * the slab is left. */
typedef struct slab {
    struct slab *next;
    void *mapped;
    char *start; /* the first huge page in it */
    size_t used;
    int n_live;
} slab;

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static slab *slabs; /* owned; the first one is being filled */

static tl_status add_slab(const char *what, tl_error *err)
{
    slab *made = NULL;
    TL_TRY(tl_calloc((void **)&made, 1, sizeof *made, what, err));
    tl_status status = tl_os_map(&made->mapped, SLAB + HUGE_PAGE, what, err);
    if (status != TL_OK) {
        tl_free(made);
        return status;
    }
    made->start = (char *)made->mapped + (-(uintptr_t)made->mapped & (HUGE_PAGE - 1));
    made->next = slabs;
    slabs = made;
    return TL_OK;
}

static tl_status take_locked(void **out, size_t bytes, const char *what, tl_error *err)
{
    if (slabs == NULL || slabs->used + bytes > SLAB)
        TL_TRY(add_slab(what, err));
    *out = slabs->start + slabs->used;
    slabs->used += (bytes + PAGE - 1) / PAGE * PAGE;
    slabs->n_live++;
    return TL_OK;
}

static void give_back_locked(void *ptr, size_t bytes)
{
    for (slab **link = &slabs; *link != NULL; link = &(*link)->next) {
        slab *from = *link;
        if ((char *)ptr < from->start || (char *)ptr >= from->start + SLAB)
            continue;
        if (--from->n_live > 0) {
            tl_os_drop_pages(ptr, bytes);
            return;
        }
        *link = from->next;
        tl_os_unmap(from->mapped, SLAB + HUGE_PAGE);
        tl_free(from);
        return;
    }
}

static bool in_slab(size_t bytes)
{
    return bytes >= TL_LARGE && bytes <= LARGEST;
}

tl_status tl_values_alloc(void **out, size_t bytes, const char *what, tl_error *err)
{
    if (!in_slab(bytes))
        return tl_os_alloc_values(out, bytes, what, err);
    pthread_mutex_lock(&guard);
    tl_status status = take_locked(out, bytes, what, err);
    pthread_mutex_unlock(&guard);
    return status;
}

void tl_values_free(void *ptr, size_t bytes)
{
    if (ptr == NULL || !in_slab(bytes)) {
        tl_os_free_values(ptr, bytes);
        return;
    }
    pthread_mutex_lock(&guard);
    give_back_locked(ptr, bytes);
    pthread_mutex_unlock(&guard);
}
