/* Everything that asks the operating system for more than malloc: a port of tlfast is a new os.c.
 */
#ifndef TL_BASE_OS_H
#define TL_BASE_OS_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Processors this process may use: the smaller of its affinity mask and its cgroup's CPU quota
 * (rounded up), at least 1. libgomp looks at the mask only. */
int tl_os_cpu_count(void);

/* Bytes this process may still take: the smaller of MemAvailable and what its cgroup leaves;
 * SIZE_MAX when the system does not say. */
size_t tl_os_memory_available(void);

/* Bytes of one core's second-level cache, as the processor says; 512 KB where it does not. */
int64_t tl_os_l2_bytes(void);

/* bytes of zeroed, page-aligned memory outside the heap, in huge pages where the kernel offers
 * them. Untouched pages cost nothing. Release with tl_os_unmap and the same size. */
tl_status tl_os_map(void **out, size_t bytes, const char *what, tl_error *err);
void tl_os_unmap(void *ptr, size_t bytes);

/* bytes of aligned memory: zeroed, from TL_LARGE on outside the heap, which short-lived arrays
 * would fragment around them. Release with tl_os_free_values and the same size. */
#define TL_LARGE ((size_t)1 << 18)
tl_status tl_os_alloc_values(void **out, size_t bytes, const char *what, tl_error *err);
void tl_os_free_values(void *ptr, size_t bytes);

/* Moves bytes from a page's start on to the given place of a file, from where they
 * are read again when touched: same address, same values, and memory that the system can take
 * back. A write makes that page the process' own again. The file may be closed and nameless
 * afterwards. offset is a multiple of TL_LARGE. */
tl_status tl_os_page_out(void *ptr, size_t bytes, int file, int64_t offset, tl_error *err);

/* Gives the pages of such a mapping back; every write since tl_os_page_out is lost. */
void tl_os_drop_pages(void *ptr, size_t bytes);

/* Fills memory with the bytes of a file from offset on, wherever its own position is. A file that
 * ends before is TL_ARG. */
tl_status tl_os_read(int file, void *to, size_t bytes, int64_t offset, tl_error *err);

/* Gives pages of the heap that hold nothing back to the system. */
void tl_os_trim(void);

/* Addresses for up to bytes of memory that cost nothing until tl_os_commit makes the first part of
 * them usable (zeroed at first); a later call may only extend it. Release with tl_os_unmap. */
tl_status tl_os_reserve(void **out, size_t bytes, const char *what, tl_error *err);
tl_status tl_os_commit(void *ptr, size_t bytes, const char *what, tl_error *err);

/* Lowest scheduling priority for the calling thread only. */
void tl_os_lower_priority(void);

/* Blocks every signal in the calling thread; a thread started from it inherits that. */
void tl_os_block_signals(void);

#endif
