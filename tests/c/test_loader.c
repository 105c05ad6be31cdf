/* test_loader BAD FILE...: runs, restarts and drops the loader over FILE..., with a file that
 * cannot be read (BAD), and with the n-th allocation failing. Built with address and
 * undefined-behaviour sanitizers, and with the thread sanitizer, by tests/test_c.py. */
#include "base/alloc.h"
#include "check.h"
#include "data/loader.h"

#define WIDTH 15
#define HEIGHT 11
#define ROWS 20

static tl_loader_options make_options(const char *const *paths, size_t n, int threads)
{
    return (tl_loader_options){
        .paths = paths,
        .n_paths = n,
        .spec = {WIDTH, HEIGHT, TL_INTERPOLATION_BILINEAR, TL_PIPELINE_KERAS, TL_FIT_STRETCH},
        .channels = 3,
        .max_pixels = 1 << 20,
        .threads = threads,
        .depth = 2};
}

static void make_order(int64_t order[ROWS], size_t n_paths)
{
    for (int i = 0; i < ROWS; i++)
        order[i] = (int64_t)((size_t)i * 7 % n_paths);
}

static const int64_t sizes[] = {1, 6, 6, 6, 1};

/* Adds up the bytes of every batch; *n_bad counts the rows that were left out. */
static tl_status consume(tl_loader *loader, uint64_t *sum, size_t *n_bad, tl_error *err)
{
    *sum = 0;
    for (uint64_t number = 1;; number++) {
        bool ready = false;
        tl_batch *batch = NULL;
        while (!ready)
            TL_TRY(tl_loader_next(loader, 50, &ready, &batch, err));
        if (batch == NULL)
            return TL_OK;
        *n_bad += batch->n_bad;
        size_t n = batch->rows * WIDTH * HEIGHT * 3;
        for (size_t i = 0; i < n; i++)
            *sum += number * (uint64_t)(64.0f * ((const float *)batch->pixels)[i]);
        tl_batch_release(batch);
    }
}

static tl_status run(const tl_loader_options *options, uint64_t *sum, size_t *n_bad, tl_error *err)
{
    int64_t order[ROWS];
    make_order(order, options->n_paths);
    tl_loader *loader = NULL;
    *n_bad = 0;
    TL_TRY(tl_loader_create(&loader, options, err));
    tl_status status = tl_loader_start(loader, order, ROWS, sizes, 5, err);
    if (status == TL_OK)
        status = consume(loader, sum, n_bad, err);
    tl_loader_destroy(loader);
    return status;
}

static void test_same_for_any_thread_count(const char *const *paths, size_t n)
{
    uint64_t first = 0;
    for (int threads = 1; threads <= 4; threads++) {
        uint64_t sum;
        size_t n_bad;
        tl_loader_options options = make_options(paths, n, threads);
        CHECK(run(&options, &sum, &n_bad, NULL) == TL_OK);
        first = threads == 1 ? sum : first;
        CHECK(sum == first && sum != 0 && n_bad == 0);
    }
}

static void test_restart_and_keep(const char *const *paths, size_t n)
{
    int64_t order[ROWS];
    make_order(order, n);
    tl_loader_options options = make_options(paths, n, 3);
    tl_loader *loader;
    tl_batch *kept[40] = {NULL};
    CHECK(tl_loader_create(&loader, &options, NULL) == TL_OK);
    for (int k = 0; k < 40; k++) {
        CHECK(tl_loader_start(loader, order, ROWS, sizes, 5, NULL) == TL_OK);
        bool ready = false;
        while (!ready && k % 3)
            CHECK(tl_loader_next(loader, 1, &ready, &kept[k], NULL) == TL_OK);
        if (k % 5 == 4) {
            tl_batch_release(kept[k]);
            kept[k] = NULL;
        }
    }
    tl_loader_destroy(loader); /* in the middle of a run, before the batches */
    for (int k = 0; k < 40; k++)
        tl_batch_release(kept[k]);
}

static void test_bad_file(const char *const *paths, size_t n)
{
    uint64_t sum;
    size_t n_bad;
    tl_error err = {0};
    tl_loader_options options = make_options(paths, n, 2);
    CHECK(run(&options, &sum, &n_bad, &err) == TL_FORMAT);
    CHECK(strstr(err.text, paths[0]) != NULL);
    options.skip_bad = true;
    CHECK(run(&options, &sum, &n_bad, NULL) == TL_OK);
    CHECK(n_bad > 0 && n_bad < ROWS);
}

/* Lack of memory is an error of the call even where bad files are skipped; then all works again.
 */
static void test_no_memory(const char *const *paths, size_t n)
{
    tl_loader_options options = make_options(paths, n, 2);
    options.skip_bad = true;
    for (int forever = 0; forever < 2; forever++) {
        uint64_t sum;
        size_t n_bad;
        long before = tl_alloc_count();
        CHECK(run(&options, &sum, &n_bad, NULL) == TL_OK);
        long total = tl_alloc_count() - before, failed = 0;
        for (long k = 1; k <= total + 2; k++) {
            tl_error err = {0};
            tl_alloc_fail_at(k, forever);
            tl_status status = run(&options, &sum, &n_bad, &err);
            tl_alloc_fail_at(0, false);
            CHECK(status == TL_OK || (status == TL_NOMEM && strstr(err.text, "memory") != NULL));
            failed += status == TL_NOMEM;
        }
        /* the last few may not be reached: how often a buffer grows depends on the threads */
        CHECK(failed > total / 2);
    }
}

int main(int argc, char **argv)
{
    CHECK(argc > 3);
    const char *const *with_bad = (const char *const *)argv + 1;
    const char *const *paths = with_bad + 1;
    size_t n = (size_t)argc - 2;
    test_same_for_any_thread_count(paths, n);
    test_restart_and_keep(paths, n);
    test_bad_file(with_bad, n + 1);
    test_no_memory(with_bad, n + 1);
    printf("%zu files\n", n);
    return 0;
}
