#include "base/alloc.h"
#include "image/image.h"

tl_status tl_buffer_reserve(tl_buffer *buffer, size_t bytes, const char *what, tl_error *err)
{
    if (bytes <= buffer->capacity)
        return TL_OK;
    tl_buffer_deinit(buffer); /* first, so that old and new never exist together */
    TL_TRY(tl_alloc_aligned(&buffer->data, bytes, what, err));
    buffer->capacity = bytes;
    return TL_OK;
}

void tl_buffer_deinit(tl_buffer *buffer)
{
    tl_free(buffer->data);
    buffer->data = NULL;
    buffer->capacity = 0;
}

void tl_buffer_trim(tl_buffer *buffer, size_t keep)
{
    if (buffer->capacity > keep)
        tl_buffer_deinit(buffer);
}
