#include "os.h"

#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alloc.h"

#define HUGE_PAGE ((size_t)2 << 20)

static int affinity_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

/* Two numbers of a cgroup file ("max" is a missing one); how many were read. */
static int read_numbers(const char *path, double *first, double *second)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    char line[64] = "";
    char *got = fgets(line, sizeof line, file);
    fclose(file);
    return got == NULL ? 0 : sscanf(line, "%lf %lf", first, second);
}

static double quota_count(void)
{
    double quota = 0, period = 0;
    if (read_numbers("/sys/fs/cgroup/cpu.max", &quota, &period) == 2 && period > 0)
        return quota / period;
    double unused = 0; /* cgroup v1: one number per file, quota -1 means none */
    if (read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", &quota, &unused) >= 1 && quota > 0 &&
        read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_period_us", &period, &unused) >= 1 && period > 0)
        return quota / period;
    return 0;
}

int tl_os_cpu_count(void)
{
    int n = affinity_count();
    double quota = quota_count();
    if (quota > 0) {
        int limit = (int)quota + (quota > (int)quota);
        n = limit < n ? limit : n;
    }
    return n > 0 ? n : 1;
}

size_t tl_os_memory_available(void)
{
    double available = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %lf kB", &available) == 1)
            available *= 1024;
    if (file != NULL)
        fclose(file);
    /* Of the container: cgroup v2, or v1, where a number beyond all memory means no limit. */
    double limit = 0, used = 0, unused = 0;
    if ((read_numbers("/sys/fs/cgroup/memory.max", &limit, &unused) >= 1 &&
         read_numbers("/sys/fs/cgroup/memory.current", &used, &unused) >= 1) ||
        (read_numbers("/sys/fs/cgroup/memory/memory.limit_in_bytes", &limit, &unused) >= 1 &&
         read_numbers("/sys/fs/cgroup/memory/memory.usage_in_bytes", &used, &unused) >= 1)) {
        double left = limit > used ? limit - used : 0;
        available = available == 0 || left < available ? left : available;
    }
    return available > 0 ? (size_t)available : SIZE_MAX;
}

int64_t tl_os_l2_bytes(void)
{
    static atomic_long known; /* asking may mean an instruction that a virtual machine emulates */
    long bytes = atomic_load(&known);
    if (bytes == 0) {
        bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
        bytes = bytes > 0 ? bytes : 512l << 10;
        atomic_store(&known, bytes);
    }
    return bytes;
}

tl_status tl_os_map(void **out, size_t bytes, const char *what, tl_error *err)
{
    void *ptr = mmap(NULL, bytes != 0 ? bytes : 1, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ptr == MAP_FAILED)
        return tl_fail(err, TL_NOMEM, "not enough memory for %s: %zu MB: %s", what, bytes >> 20,
                       strerror(errno));
    if (bytes >= HUGE_PAGE) /* a hint: without huge pages everything works, a little slower */
        (void)madvise(ptr, bytes, MADV_HUGEPAGE);
    *out = ptr;
    return TL_OK;
}

tl_status tl_os_alloc_values(void **out, size_t bytes, const char *what, tl_error *err)
{
    if (bytes >= TL_LARGE)
        return tl_os_map(out, bytes, what, err);
    TL_TRY(tl_alloc_aligned(out, bytes, what, err));
    memset(*out, 0, bytes);
    return TL_OK;
}

void tl_os_free_values(void *ptr, size_t bytes)
{
    if (bytes >= TL_LARGE)
        tl_os_unmap(ptr, bytes);
    else
        tl_free(ptr);
}

static tl_status write_all(int file, const char *from, size_t bytes, int64_t offset, tl_error *err)
{
    while (bytes > 0) {
        ssize_t n = pwrite(file, from, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return tl_fail_io(err, n < 0 ? errno : ENOSPC, "moving %zu MB of weights to a file",
                              bytes >> 20);
        from += n;
        offset += n;
        bytes -= (size_t)n;
    }
    return TL_OK;
}

tl_status tl_os_read(int file, void *to, size_t bytes, int64_t offset, tl_error *err)
{
    for (char *at = to; bytes > 0;) {
        ssize_t n = pread(file, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tl_fail_io(err, errno, "reading %zu bytes", bytes);
        if (n == 0)
            return tl_fail(err, TL_ARG, "the file ends %zu bytes before its values do", bytes);
        at += n;
        offset += n;
        bytes -= (size_t)n;
    }
    return TL_OK;
}

tl_status tl_os_page_out(void *ptr, size_t bytes, int file, int64_t offset, tl_error *err)
{
    TL_TRY(write_all(file, ptr, bytes, offset, err));
    int flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE;
    if (mmap(ptr, bytes, PROT_READ | PROT_WRITE, flags, file, (off_t)offset) != MAP_FAILED)
        return TL_OK;
    int code = errno;
    tl_error unused = {0};
    /* A failed MAP_FIXED may have unmapped what was there: back to plain memory. */
    if (mmap(ptr, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ||
        tl_os_read(file, ptr, bytes, offset, &unused) != TL_OK)
        return tl_fail(err, TL_NOMEM, "not enough memory for %zu MB of weights", bytes >> 20);
    return tl_fail_io(err, code, "mapping %zu MB of weights", bytes >> 20);
}

void tl_os_drop_pages(void *ptr, size_t bytes)
{
    (void)madvise(ptr, bytes, MADV_DONTNEED); /* without it only memory is lost */
}

void tl_os_trim(void)
{
    malloc_trim(0); /* glibc's, as is the whole platform */
}

tl_status tl_os_reserve(void **out, size_t bytes, const char *what, tl_error *err)
{
    void *ptr = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ptr == MAP_FAILED)
        return tl_fail(err, TL_NOMEM, "no addresses for %s: %zu MB: %s", what, bytes >> 20,
                       strerror(errno));
    *out = ptr;
    return TL_OK;
}

tl_status tl_os_commit(void *ptr, size_t bytes, const char *what, tl_error *err)
{
    if (mprotect(ptr, bytes, PROT_READ | PROT_WRITE) != 0)
        return tl_fail(err, TL_NOMEM, "not enough memory for %s: %zu MB: %s", what, bytes >> 20,
                       strerror(errno));
    (void)madvise(ptr, bytes, MADV_HUGEPAGE);
    return TL_OK;
}

void tl_os_unmap(void *ptr, size_t bytes)
{
    if (ptr != NULL)
        munmap(ptr, bytes != 0 ? bytes : 1);
}

void tl_os_lower_priority(void)
{
    /* Linux: a nice value belongs to a thread. Failing to lower it costs speed only. */
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
}

void tl_os_block_signals(void)
{
    sigset_t all;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
}
