#include "data/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/os.h"
#include "image/decode.h"
#include "image/file.h"

#define MAX_DEPTH 64
#define MAX_THREADS 256
#define THREAD_STACK ((size_t)1 << 20)

/* A batch on its way; the ring holds batches consumed .. consumed + depth - 1. */
typedef struct tl_slot {
    tl_batch *batch; /* NULL: not begun */
    size_t pending;  /* rows not done yet */
} tl_slot;

struct tl_loader {
    /* constant */
    char **paths;    /* (n_paths), owned, into path_text */
    char *path_text; /* owned */
    size_t n_paths;
    tl_resize_spec spec;
    tl_decode_options decode; /* decode.cancel points to cancel */
    bool skip_bad, is_u8;
    int n_threads, depth;

    pid_t pid;
    tl_batch_pool *pool;
    pthread_t *threads; /* (n_threads), the first n_running are alive */
    int n_running;
    atomic_bool cancel; /* the run under way is of no more use */

    pthread_mutex_t lock; /* protects everything below */
    pthread_cond_t work;  /* there may be something to decode, or to stop for */
    pthread_cond_t ready; /* a batch is full, a row is done after cancel, or failure is set */
    bool stopping;        /* threads end */
    int n_busy;           /* threads outside the lock */

    /* the run. A plain counter under the lock instead of an atomic one: a row costs 100 us and
     * more, and the ring has to be looked at anyway. */
    bool started;
    int64_t *order; /* owned */
    size_t
        *begins; /* (n_batches + 1), owned: batch k is order[begins[k]] .. order[begins[k + 1]] */
    size_t n_batches, largest;
    size_t next_batch, next_item; /* the next row to decode */
    size_t consumed;              /* batches handed out */
    tl_slot *ring;                /* (depth), owned */
    tl_error failure;             /* ended the run when its code is not TL_OK */
};

typedef struct tl_worker {
    tl_loader *loader;
    tl_decoder decoder;
    tl_resizer resizer;
} tl_worker;

/* ---- one image ---- */

static tl_status load_decoded(tl_worker *worker, const uint8_t *data, size_t size, void *dst,
                              tl_error *err)
{
    const tl_loader *loader = worker->loader;
    tl_image image;
    TL_TRY(tl_decoder_decode(&worker->decoder, data, size, &loader->decode, &image, err));
    tl_pixels pixels = {.width = image.width,
                        .height = image.height,
                        .channels = image.channels,
                        .stride = (size_t)image.width * (size_t)image.channels,
                        .data = image.pixels};
    if (loader->is_u8)
        return tl_resizer_run_u8(&worker->resizer, &pixels, &loader->spec, dst, err);
    return tl_resizer_run(&worker->resizer, &pixels, &loader->spec, dst, err);
}

/* The error names the file. */
static tl_status load_image(tl_worker *worker, const char *path, void *dst, tl_error *err)
{
    size_t size;
    TL_TRY(tl_file_read(path, &worker->decoder.file, &size, err));
    tl_error reason = {0};
    tl_status status = load_decoded(worker, worker->decoder.file.data, size, dst, &reason);
    tl_decoder_trim(&worker->decoder);
    tl_resizer_trim(&worker->resizer);
    if (status == TL_OK)
        return TL_OK;
    char shown[TL_PATH_TEXT];
    return tl_fail(err, status, "cannot decode %s: %s", tl_path_show(path, shown), reason.text);
}

/* ---- workers; functions named *_locked are called with the lock held ---- */

static void fail_run_locked(tl_loader *loader, const tl_error *error)
{
    if (loader->failure.code == TL_OK)
        loader->failure = *error;
    pthread_cond_broadcast(&loader->ready);
}

static bool has_work_locked(const tl_loader *loader)
{
    return loader->started && loader->failure.code == TL_OK && !atomic_load(&loader->cancel) &&
           loader->next_batch < loader->n_batches &&
           loader->next_batch < loader->consumed + (size_t)loader->depth;
}

/* Gives the batch of the next row its memory. */
static tl_status open_slot_locked(tl_loader *loader, tl_slot *slot, tl_error *err)
{
    size_t begin = loader->begins[loader->next_batch];
    size_t rows = loader->begins[loader->next_batch + 1] - begin;
    TL_TRY(tl_batch_pool_take(loader->pool, rows, loader->largest, &slot->batch, err));
    slot->pending = rows;
    memcpy(slot->batch->ids, loader->order + begin, rows * sizeof(int64_t));
    return TL_OK;
}

/* Decodes the next row; leaves the lock meanwhile. */
static void run_row_locked(tl_worker *worker)
{
    tl_loader *loader = worker->loader;
    size_t number = loader->next_batch;
    tl_slot *slot = &loader->ring[number % (size_t)loader->depth];
    size_t row = loader->next_item - loader->begins[number];
    tl_error error = {0};
    if (row == 0 && open_slot_locked(loader, slot, &error) != TL_OK) {
        fail_run_locked(loader, &error);
        return;
    }
    loader->next_item++;
    if (loader->next_item == loader->begins[number + 1])
        loader->next_batch++;
    tl_batch *batch = slot->batch;
    const char *path = loader->paths[batch->ids[row]];
    size_t pixel = loader->is_u8 ? 1 : sizeof(float);
    size_t row_bytes = (size_t)loader->spec.width * (size_t)loader->spec.height *
                       (size_t)loader->decode.channels * pixel;
    loader->n_busy++;
    pthread_mutex_unlock(&loader->lock);

    tl_status status =
        load_image(worker, path, (uint8_t *)batch->pixels + row * row_bytes, &error);

    pthread_mutex_lock(&loader->lock);
    loader->n_busy--;
    tl_error second = {0};
    if (status != TL_OK && !atomic_load(&loader->cancel) &&
        tl_batch_add_bad(batch, row, &error, &second) != TL_OK)
        fail_run_locked(loader, &second);
    slot->pending--;
    if (slot->pending == 0 || atomic_load(&loader->cancel))
        pthread_cond_broadcast(&loader->ready);
}

static void *work(void *argument)
{
    tl_loader *loader = argument;
    /* A decoder at normal priority slows the compute threads by a factor of 2 to 3, since these
     * wait for the slowest of them; at the lowest one it costs them nothing. */
    tl_os_lower_priority();
    tl_worker worker = {.loader = loader};
    pthread_mutex_lock(&loader->lock);
    while (!loader->stopping) {
        if (has_work_locked(loader))
            run_row_locked(&worker);
        else
            pthread_cond_wait(&loader->work, &loader->lock);
    }
    pthread_mutex_unlock(&loader->lock);
    tl_decoder_deinit(&worker.decoder);
    tl_resizer_deinit(&worker.resizer);
    return NULL;
}

/* At least one thread, at best n_threads: fewer give the same batches, only later. */
static tl_status start_threads(tl_loader *loader, tl_error *err)
{
    if (loader->n_running > 0)
        return TL_OK;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return tl_fail(err, TL_NOMEM, "cannot describe a loader thread");
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* threads inherit it: Ctrl-C goes to the main one */
    int failed = 0;
    while (loader->n_running < loader->n_threads && failed == 0) {
        failed = pthread_create(&loader->threads[loader->n_running], &attributes, work, loader);
        if (failed == 0)
            loader->n_running++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    if (loader->n_running == 0)
        return tl_fail_io(err, failed, "cannot start a loader thread");
    return TL_OK;
}

static void stop_threads(tl_loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    loader->stopping = true;
    atomic_store(&loader->cancel, true);
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->n_running; i++)
        pthread_join(loader->threads[i], NULL);
    loader->n_running = 0;
}

/* ---- life ---- */

static tl_status copy_paths(tl_loader *loader, const tl_loader_options *options, tl_error *err)
{
    void *memory;
    size_t total = 0;
    for (size_t i = 0; i < options->n_paths; i++)
        total += strlen(options->paths[i]) + 1;
    TL_TRY(tl_calloc(&memory, options->n_paths, sizeof(char *), "the table of files", err));
    loader->paths = memory;
    TL_TRY(tl_calloc(&memory, total, 1, "the names of the files", err));
    loader->path_text = memory;
    char *to = loader->path_text;
    for (size_t i = 0; i < options->n_paths; i++) {
        loader->paths[i] = to;
        to = stpcpy(to, options->paths[i]) + 1;
    }
    loader->n_paths = options->n_paths;
    return TL_OK;
}

static tl_status check_options(const tl_loader_options *options, tl_error *err)
{
    TL_TRY(tl_resize_check(&options->spec, err));
    if (options->channels != 1 && options->channels != 3 && options->channels != 4)
        return tl_fail(err, TL_ARG, "channels is %d; allowed are 1, 3 and 4", options->channels);
    if (options->threads < 0 || options->threads > MAX_THREADS)
        return tl_fail(err, TL_ARG, "threads is %d; allowed are 0 (one per CPU) to %d",
                       options->threads, MAX_THREADS);
    if (options->depth < 1 || options->depth > MAX_DEPTH)
        return tl_fail(err, TL_ARG, "depth is %d; allowed are 1 to %d batches", options->depth,
                       MAX_DEPTH);
    return TL_OK;
}

static tl_status make_locks(tl_loader *loader, tl_error *err)
{
    pthread_condattr_t clock;
    if (pthread_condattr_init(&clock) != 0)
        return tl_fail(err, TL_NOMEM, "cannot make the loader's locks");
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    bool made = pthread_mutex_init(&loader->lock, NULL) == 0 &&
                pthread_cond_init(&loader->work, NULL) == 0 &&
                pthread_cond_init(&loader->ready, &clock) == 0;
    pthread_condattr_destroy(&clock);
    return made ? TL_OK : tl_fail(err, TL_NOMEM, "cannot make the loader's locks");
}

static tl_status make_pool(tl_loader *loader, tl_error *err)
{
    size_t bytes = loader->is_u8 ? 1 : sizeof(float);
    if (!tl_mul(bytes, (size_t)loader->spec.width, &bytes) ||
        !tl_mul(bytes, (size_t)loader->spec.height, &bytes) ||
        !tl_mul(bytes, (size_t)loader->decode.channels, &bytes))
        return tl_fail(err, TL_ARG, "images of %d x %d pixels are too large", loader->spec.width,
                       loader->spec.height);
    /* ring, one with the consumer, one on its way back */
    return tl_batch_pool_create(&loader->pool, bytes, (size_t)loader->depth + 2, err);
}

tl_status tl_loader_create(tl_loader **out, const tl_loader_options *options, tl_error *err)
{
    TL_TRY(check_options(options, err));
    void *memory;
    TL_TRY(tl_calloc(&memory, 1, sizeof(tl_loader), "a loader", err));
    tl_loader *loader = memory;
    tl_status status = make_locks(loader, err);
    if (status != TL_OK) {
        tl_free(loader);
        return status;
    }
    loader->spec = options->spec;
    loader->decode = (tl_decode_options){.channels = options->channels,
                                         .pipeline = options->spec.pipeline,
                                         .max_pixels = options->max_pixels,
                                         .target_width = options->spec.width,
                                         .target_height = options->spec.height,
                                         .cancel = &loader->cancel};
    loader->skip_bad = options->skip_bad;
    loader->is_u8 = options->spec.pipeline == TL_PIPELINE_KERAS &&
                    options->spec.interpolation == TL_INTERPOLATION_NEAREST;
    loader->n_threads = options->threads > 0 ? options->threads : tl_os_cpu_count();
    if (loader->n_threads > MAX_THREADS)
        loader->n_threads = MAX_THREADS;
    loader->depth = options->depth;
    loader->pid = getpid();
    TL_TRY_GOTO(copy_paths(loader, options, err));
    TL_TRY_GOTO(make_pool(loader, err));
    TL_TRY_GOTO(tl_calloc(&memory, (size_t)loader->depth, sizeof(tl_slot), "a ring", err));
    loader->ring = memory;
    TL_TRY_GOTO(tl_calloc(&memory, (size_t)loader->n_threads, sizeof(pthread_t), "threads", err));
    loader->threads = memory;
    *out = loader;
    return TL_OK;
fail:
    tl_loader_destroy(loader);
    return status;
}

static void drop_run(tl_loader *loader)
{
    for (int i = 0; i < loader->depth && loader->ring != NULL; i++) {
        tl_batch_release(loader->ring[i].batch);
        loader->ring[i] = (tl_slot){0};
    }
    tl_free(loader->order);
    tl_free(loader->begins);
    loader->order = NULL;
    loader->begins = NULL;
    loader->started = false;
    loader->n_batches = 0;
}

/* In a forked child: the threads are gone, the locks are in any state, batches of the ring are
 * half written. Forgets all of them (the memory was shared with the parent anyway) and takes the
 * run up at the first batch that was not handed out. */
static tl_status revive_after_fork(tl_loader *loader, tl_error *err)
{
    if (loader->pid == getpid())
        return TL_OK;
    loader->n_running = 0;
    loader->n_busy = 0;
    loader->stopping = false;
    atomic_store(&loader->cancel, false);
    memset(loader->ring, 0, (size_t)loader->depth * sizeof *loader->ring);
    TL_TRY(make_locks(loader, err));
    TL_TRY(make_pool(loader, err));
    loader->pid = getpid();
    loader->next_batch = loader->consumed;
    if (!loader->started)
        return TL_OK;
    loader->next_item = loader->begins[loader->consumed];
    return start_threads(loader, err);
}

void tl_loader_destroy(tl_loader *loader)
{
    if (loader == NULL)
        return;
    if (loader->pid == getpid()) {
        stop_threads(loader);
        drop_run(loader);
        pthread_mutex_destroy(&loader->lock);
        pthread_cond_destroy(&loader->work);
        pthread_cond_destroy(&loader->ready);
        tl_batch_pool_close(loader->pool);
    } else {
        tl_free(loader->order); /* see revive_after_fork for what is left behind */
        tl_free(loader->begins);
    }
    tl_free(loader->ring);
    tl_free(loader->threads);
    tl_free(loader->path_text);
    tl_free(loader->paths);
    tl_free(loader);
}

/* ---- runs ---- */

/* Waits until no thread works on the old run, then forgets it. */
static void end_run(tl_loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    atomic_store(&loader->cancel, true);
    while (loader->n_busy > 0)
        pthread_cond_wait(&loader->ready, &loader->lock);
    drop_run(loader);
    atomic_store(&loader->cancel, false);
    pthread_mutex_unlock(&loader->lock);
}

static tl_status check_run(const tl_loader *loader, const int64_t *order, size_t n_order,
                           const int64_t *sizes, size_t n_sizes, tl_error *err)
{
    for (size_t i = 0; i < n_order; i++)
        if (order[i] < 0 || (uint64_t)order[i] >= loader->n_paths)
            return tl_fail(err, TL_ARG, "order[%zu] is %" PRId64 "; there are %zu files", i,
                           order[i], loader->n_paths);
    uint64_t total = 0;
    for (size_t k = 0; k < n_sizes; k++) {
        if (sizes[k] < 1 || (uint64_t)sizes[k] > n_order)
            return tl_fail(err, TL_ARG, "batch_sizes[%zu] is %" PRId64 "; allowed are 1 to %zu", k,
                           sizes[k], n_order);
        total += (uint64_t)sizes[k];
    }
    if (total != n_order)
        return tl_fail(err, TL_ARG, "batch_sizes add up to %" PRIu64 ", but order has %zu entries",
                       total, n_order);
    return TL_OK;
}

tl_status tl_loader_start(tl_loader *loader, const int64_t *order, size_t n_order,
                          const int64_t *sizes, size_t n_sizes, tl_error *err)
{
    TL_TRY(check_run(loader, order, n_order, sizes, n_sizes, err));
    TL_TRY(revive_after_fork(loader, err));
    void *new_order = NULL, *new_begins = NULL;
    tl_status status;
    TL_TRY_GOTO(tl_calloc(&new_order, n_order, sizeof(int64_t), "an order of files", err));
    TL_TRY_GOTO(tl_calloc(&new_begins, n_sizes + 1, sizeof(size_t), "an order of files", err));
    TL_TRY_GOTO(start_threads(loader, err));
    end_run(loader);

    pthread_mutex_lock(&loader->lock);
    loader->order = new_order;
    loader->begins = new_begins;
    if (n_order > 0)
        memcpy(loader->order, order, n_order * sizeof *order);
    loader->largest = 0;
    for (size_t k = 0; k < n_sizes; k++) {
        size_t rows = (size_t)sizes[k];
        loader->begins[k + 1] = loader->begins[k] + rows;
        loader->largest = rows > loader->largest ? rows : loader->largest;
    }
    loader->n_batches = n_sizes;
    loader->next_batch = loader->next_item = loader->consumed = 0;
    loader->failure = (tl_error){0};
    loader->started = true;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    return TL_OK;
fail:
    tl_free(new_order);
    tl_free(new_begins);
    return status;
}

static struct timespec deadline_in(int ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1000000L;
    if (at.tv_nsec >= 1000000000L) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000L;
    }
    return at;
}

/* Takes the next batch out of the ring if it comes in time, else *out stays NULL. */
static tl_status wait_batch_locked(tl_loader *loader, int timeout_ms, tl_batch **out,
                                   tl_error *err)
{
    struct timespec deadline = deadline_in(timeout_ms);
    tl_slot *slot = &loader->ring[loader->consumed % (size_t)loader->depth];
    while (loader->failure.code == TL_OK && (slot->batch == NULL || slot->pending > 0))
        if (pthread_cond_timedwait(&loader->ready, &loader->lock, &deadline) == ETIMEDOUT)
            return TL_OK;
    if (loader->failure.code != TL_OK) {
        if (err != NULL)
            *err = loader->failure;
        return loader->failure.code;
    }
    *out = slot->batch;
    *slot = (tl_slot){0};
    loader->consumed++;
    pthread_cond_broadcast(&loader->work);
    return TL_OK;
}

/* The row whose error must be raised, or NULL: lack of memory is no property of a file. */
static const tl_bad_row *find_fatal(const tl_loader *loader, const tl_batch *batch)
{
    for (size_t i = 0; i < batch->n_bad; i++)
        if (!loader->skip_bad || batch->bad[i].error.code == TL_NOMEM)
            return &batch->bad[i];
    return NULL;
}

tl_status tl_loader_next(tl_loader *loader, int timeout_ms, bool *ready, tl_batch **out,
                         tl_error *err)
{
    *ready = false;
    TL_TRY(revive_after_fork(loader, err));
    tl_batch *batch = NULL;
    tl_status status = TL_OK;
    bool ended = false;
    pthread_mutex_lock(&loader->lock);
    if (!loader->started)
        status = tl_fail(err, TL_STATE, "nothing to load yet: call start(order, batch_sizes)");
    else if (loader->consumed == loader->n_batches && loader->failure.code == TL_OK)
        ended = true;
    else
        status = wait_batch_locked(loader, timeout_ms, &batch, err);
    pthread_mutex_unlock(&loader->lock);
    TL_TRY(status);
    if (batch == NULL) {
        *ready = ended;
        *out = NULL;
        return TL_OK;
    }
    tl_batch_sort_bad(batch);
    const tl_bad_row *fatal = find_fatal(loader, batch);
    if (fatal != NULL) {
        pthread_mutex_lock(&loader->lock);
        fail_run_locked(loader, &fatal->error);
        status = loader->failure.code;
        if (err != NULL)
            *err = loader->failure;
        pthread_mutex_unlock(&loader->lock);
        tl_batch_release(batch);
        return status;
    }
    tl_batch_drop_bad(batch);
    *ready = true;
    *out = batch;
    return TL_OK;
}

int tl_loader_threads(const tl_loader *loader)
{
    return loader->n_threads;
}

bool tl_loader_is_u8(const tl_loader *loader)
{
    return loader->is_u8;
}
