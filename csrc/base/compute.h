/* The compute thread: one per process, owned by the core. Every plan is built and run on it, one
 * whole job after the other (first come, first served), so oneDNN sees one OpenMP team of a known
 * size, a caller can wait with a timeout and cancel, and after a fork the child simply starts a
 * new thread (libgomp's pool hangs in a forked child, a region on a fresh thread works). */
#ifndef TL_BASE_COMPUTE_H
#define TL_BASE_COMPUTE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "status.h"

typedef struct tl_job {
    tl_status (*run)(void *arg, tl_error *err); /* called on the compute thread */
    void *arg;
    tl_status status; /* valid when done */
    tl_error err;
    atomic_bool cancelled;
    bool done;           /* guarded by the queue's lock */
    struct tl_job *next; /* owned by the queue until done */
} tl_job;

/* Queues job (caller's memory, alive until tl_compute_wait returns true); starts the thread if
 * this process has none. */
tl_status tl_compute_submit(tl_job *job, tl_error *err);

/* True when the job has ended; false after timeout_ms. Takes a void * so that it fits callbacks.
 */
bool tl_compute_wait(void *job, int timeout_ms);

/* Asks the job to end early: it returns TL_CANCELLED at its next check, or finishes. */
void tl_compute_cancel(void *job);

/* For code that runs in a job: has the running job been cancelled? */
bool tl_compute_cancelled(void);

/* For code that runs in a job, where everything is whole (between two steps of a plan): lets a
 * waiting fork() of another thread happen now. */
void tl_compute_rest(void);

/* Submit and wait without a way to cancel. */
tl_status tl_compute_call(tl_status (*run)(void *arg, tl_error *err), void *arg, tl_error *err);

/* Threads of the OpenMP team. Asking starts the thread. The number is what a parallel region
 * really got (OMP_THREAD_LIMIT and the like can give fewer than asked for). */
tl_status tl_compute_get_threads(int *n, tl_error *err);

/* The same for code that runs in a job already. */
int tl_compute_team(void);

/* More than any machine has processors. */
#define TL_MAX_THREADS 4096

/* n >= 1, or 0 for the default: OMP_NUM_THREADS if set, else tl_os_cpu_count(). Plans made for
 * another number refuse to run and are to be made again. */
tl_status tl_compute_set_threads(long n, tl_error *err);

/* On the compute thread: the team size now; TL_STATE when it is no longer what plans were built
 * for (a oneDNN primitive run by a smaller team gives a partial gradient or hangs). */
tl_status tl_compute_check_team(int n_built_for, tl_error *err);

#endif
