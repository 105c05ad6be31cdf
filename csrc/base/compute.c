#include "compute.h"

#include <errno.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <xmmintrin.h>

#include "os.h"

/* Flush-to-zero and denormals-are-zero: trained weights with denormals slow convolutions 3 to 50
 * times. The mode belongs to a thread. */
#define FLUSH_DENORMALS 0x8040u

/* The queue. Everything is guarded by lock, except team: the compute thread alone writes it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work_ready = PTHREAD_COND_INITIALIZER;
static pthread_cond_t work_done = PTHREAD_COND_INITIALIZER;
static tl_job *first;
static tl_job *last;
static tl_job *running;
static bool started;
static int wanted;      /* threads asked for; 0: not decided yet */
static atomic_int team; /* threads a region gave when the number was last set; 0: none yet */

/* ---- fork: the child starts with an empty queue and no thread ---- */

/* The compute thread holds the gate while it works and opens it between two steps if a fork waits:
 * the child then finds whole weights and no lock of oneDNN, libgomp or ours taken by a thread that
 * it does not have. The gate is taken before `lock`. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static atomic_int forks_waiting;

static void before_fork(void)
{
    atomic_fetch_add(&forks_waiting, 1);
    pthread_mutex_lock(&gate);
    atomic_fetch_sub(&forks_waiting, 1);
    pthread_mutex_lock(&lock);
}

static void after_fork_parent(void)
{
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&gate);
}

static void after_fork_child(void)
{
    pthread_mutex_init(&lock, NULL);
    pthread_mutex_init(&gate, NULL);
    pthread_cond_init(&work_ready, NULL);
    pthread_cond_init(&work_done, NULL);
    atomic_store(&forks_waiting, 0);
    first = last = running = NULL;
    started = false;
    atomic_store(&team, 0);
}

void tl_compute_rest(void)
{
    if (atomic_load(&forks_waiting) == 0)
        return;
    pthread_mutex_unlock(&gate);
    while (atomic_load(&forks_waiting) > 0)
        sched_yield();
    pthread_mutex_lock(&gate);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* ---- the team ---- */

static int count_team(void)
{
    int n = 0;
#pragma omp parallel reduction(+ : n)
    {
        _mm_setcsr(_mm_getcsr() | FLUSH_DENORMALS);
        n += 1;
    }
    return n;
}

static void *do_nothing(void *arg)
{
    return arg;
}

/* libgomp ends the whole process when it cannot create a thread (a pids limit, say): see with
 * plain threads first how many there may be. */
static int creatable_threads(int n)
{
    pthread_t *threads = calloc((size_t)n, sizeof *threads);
    int made = 0;
    while (threads != NULL && made < n - 1 &&
           pthread_create(&threads[made], NULL, do_nothing, NULL) == 0)
        made++;
    for (int i = 0; i < made; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    return made + 1;
}

static int default_threads(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    long n = text != NULL ? strtol(text, NULL, 10) : 0;
    return n > 0 && n <= TL_MAX_THREADS ? (int)n : tl_os_cpu_count();
}

static void make_team(int n)
{
    omp_set_dynamic(0);
    omp_set_num_threads(creatable_threads(n));
    int counted = count_team();
    atomic_store(&team, counted);
    omp_set_num_threads(counted);
}

tl_status tl_compute_check_team(int n_built_for, tl_error *err)
{
    int n = count_team();
    if (n == n_built_for)
        return TL_OK;
    return tl_fail(err, TL_STATE,
                   "OpenMP gave %d threads where %d were planned for; check OMP_THREAD_LIMIT, "
                   "OMP_DYNAMIC and the process limit, or call tlfast.set_num_threads(%d)",
                   n, n_built_for, n);
}

/* ---- the thread ---- */

static void *compute_thread(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    int n = wanted;
    pthread_mutex_unlock(&lock);
    pthread_mutex_lock(&gate);
    make_team(n);
    pthread_mutex_unlock(&gate);
    for (;;) {
        pthread_mutex_lock(&lock);
        while (first == NULL)
            pthread_cond_wait(&work_ready, &lock);
        tl_job *job = first;
        first = job->next;
        if (first == NULL)
            last = NULL;
        running = job;
        pthread_mutex_unlock(&lock);

        pthread_mutex_lock(&gate);
        job->status = atomic_load(&job->cancelled)
                          ? tl_fail(&job->err, TL_CANCELLED, "cancelled before it started")
                          : job->run(job->arg, &job->err);
        pthread_mutex_unlock(&gate);

        pthread_mutex_lock(&lock);
        running = NULL;
        job->done = true;
        pthread_cond_broadcast(&work_done);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static tl_status start_lock_held(tl_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    if (wanted == 0)
        wanted = default_threads();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before); /* signals belong to the caller's threads */
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, compute_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0)
        return tl_fail_io(err, failed, "cannot start the compute thread");
    pthread_detach(thread);
    started = true;
    return TL_OK;
}

tl_status tl_compute_submit(tl_job *job, tl_error *err)
{
    job->status = TL_OK;
    job->err.code = TL_OK;
    job->done = false;
    job->next = NULL;
    atomic_store(&job->cancelled, false);
    pthread_mutex_lock(&lock);
    tl_status status = started ? TL_OK : start_lock_held(err);
    if (status == TL_OK) {
        if (last != NULL)
            last->next = job;
        else
            first = job;
        last = job;
        pthread_cond_signal(&work_ready);
    }
    pthread_mutex_unlock(&lock);
    return status;
}

bool tl_compute_wait(void *arg, int timeout_ms)
{
    tl_job *job = arg;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec += 1;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&lock);
    int timed_out = 0;
    while (!job->done && timed_out != ETIMEDOUT)
        timed_out = pthread_cond_timedwait(&work_done, &lock, &until);
    bool done = job->done;
    pthread_mutex_unlock(&lock);
    return done;
}

void tl_compute_cancel(void *job)
{
    atomic_store(&((tl_job *)job)->cancelled, true);
}

bool tl_compute_cancelled(void)
{
    /* Only the compute thread writes running, and only it calls this. */
    return running != NULL && atomic_load_explicit(&running->cancelled, memory_order_relaxed);
}

tl_status tl_compute_call(tl_status (*run)(void *arg, tl_error *err), void *arg, tl_error *err)
{
    tl_job job = {.run = run, .arg = arg};
    TL_TRY(tl_compute_submit(&job, err));
    while (!tl_compute_wait(&job, 1000)) {
    }
    if (job.status != TL_OK && err != NULL && err->code == TL_OK)
        *err = job.err;
    /* The queue let go of the job before the wait ended. */
    return job.status; /* NOLINT(clang-analyzer-core.StackAddressEscape) */
}

int tl_compute_team(void)
{
    return atomic_load(&team);
}

static tl_status read_team(void *arg, tl_error *err)
{
    (void)err;
    *(int *)arg = atomic_load(&team);
    return TL_OK;
}

tl_status tl_compute_get_threads(int *n, tl_error *err)
{
    *n = atomic_load(&team); /* every prediction asks: no need to wake the thread for it */
    return *n != 0 ? TL_OK : tl_compute_call(read_team, n, err);
}

static tl_status write_team(void *arg, tl_error *err)
{
    (void)err;
    make_team(*(int *)arg);
    return TL_OK;
}

tl_status tl_compute_set_threads(long n, tl_error *err)
{
    if (n < 0 || n > TL_MAX_THREADS)
        return tl_fail(err, TL_ARG, "number of threads %ld; allowed: 1 to %d, 0 for the default",
                       n, TL_MAX_THREADS);
    int threads = n != 0 ? (int)n : default_threads();
    pthread_mutex_lock(&lock);
    wanted = threads;
    pthread_mutex_unlock(&lock);
    return tl_compute_call(write_team, &threads, err);
}
