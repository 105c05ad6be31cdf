/* test_library_memory FILE...: the n-th malloc of the whole process fails, those of libjpeg,
 * libpng and zlib included. Replaces malloc and free, so it is built without sanitizers, and
 * counts blocks itself to find leaks. */
#include <stdatomic.h>

#include "base/alloc.h"
#include "check.h"
#include "image/decode.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *ptr, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *ptr);

static atomic_long n_blocks, countdown;

static int forever;        /* every malloc after the n-th fails too */
static atomic_int refused; /* times */

static int refuses(void)
{
    if (atomic_load(&countdown) == 0)
        return 0;
    if (atomic_load(&countdown) > 1) {
        atomic_fetch_sub(&countdown, 1);
        return 0;
    }
    atomic_fetch_add(&refused, 1);
    atomic_store(&countdown, forever); /* 1: the next one as well */
    return 1;
}

static void *counted(void *ptr)
{
    if (ptr != NULL)
        atomic_fetch_add(&n_blocks, 1);
    return ptr;
}

void *malloc(size_t size)
{
    return refuses() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return refuses() ? NULL : counted(__libc_calloc(count, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return refuses() ? NULL : counted(__libc_memalign(alignment, size));
}

void *realloc(void *ptr, size_t size)
{
    if (refuses())
        return NULL;
    void *grown = __libc_realloc(ptr, size);
    return ptr == NULL ? counted(grown) : grown;
}

void free(void *ptr)
{
    if (ptr != NULL)
        atomic_fetch_sub(&n_blocks, 1);
    __libc_free(ptr);
}

static tl_status decode(const uint8_t *data, size_t size, tl_error *err)
{
    tl_decoder decoder = {0};
    tl_image image;
    tl_decode_options options = {.channels = 3, .max_pixels = 1 << 20};
    tl_status status = tl_decoder_decode(&decoder, data, size, &options, &image, err);
    tl_decoder_deinit(&decoder);
    return status;
}

/* Fails malloc 1, 2, ... until there are not that many. A library may do without the one that
 * failed (libjpeg asks for less), so success is no sign of the end. */
static long fail_each(const char *path, const uint8_t *data, size_t size)
{
    long before = atomic_load(&n_blocks), n = 0, failed = 0;
    for (int reached = 1; reached; n++) {
        tl_error err = {0};
        atomic_store(&refused, 0);
        atomic_store(&countdown, n + 1);
        tl_status status = decode(data, size, &err);
        atomic_store(&countdown, 0);
        reached = atomic_load(&refused) > 0;
        if (status != TL_OK && status != TL_NOMEM)
            fprintf(stderr, "%s, allocation %ld: %s\n", path, n + 1, err.text);
        CHECK(status == TL_OK || status == TL_NOMEM);
        CHECK(!forever || !reached || status == TL_NOMEM);
        CHECK(atomic_load(&n_blocks) == before);
        CHECK(n < 200);
        failed += status == TL_NOMEM;
    }
    return failed;
}

int main(int argc, char **argv)
{
    CHECK(argc > 1);
    for (int i = 1; i < argc; i++) {
        size_t size;
        uint8_t *data = read_whole(argv[i], &size);
        CHECK(decode(data, size, NULL) == TL_OK); /* whatever is made once per process */
        for (forever = 0; forever < 2; forever++)
            CHECK(fail_each(argv[i], data, size) > 0);
        free(data);
    }
    printf("%d files\n", argc - 1);
    return 0;
}
