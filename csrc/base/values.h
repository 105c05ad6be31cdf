/* Memory for the values of weights: hundreds of arrays of one model, each smaller than a huge
 * page. Side by side they are filled in huge pages, in a third of the time that small ones take.
 */
#ifndef TL_BASE_VALUES_H
#define TL_BASE_VALUES_H

#include <stddef.h>

#include "status.h"

/* bytes of zeroed, aligned memory, from TL_LARGE on page-aligned and outside the heap. Untouched
 * pages cost nothing. Release with tl_values_free and the same size. */
tl_status tl_values_alloc(void **out, size_t bytes, const char *what, tl_error *err);
void tl_values_free(void *ptr, size_t bytes); /* NULL is fine */

#endif
