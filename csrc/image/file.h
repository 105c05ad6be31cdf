/* Whole files into memory, safe against everything a directory may hold besides regular files. */
#ifndef TL_IMAGE_FILE_H
#define TL_IMAGE_FILE_H

#include "image/image.h"

#define TL_PATH_TEXT 512

/* Writes path into text for an error message: quotes around it, control characters escaped, a long
 * path shortened at the front. Returns text. */
const char *tl_path_show(const char *path, char text[TL_PATH_TEXT]);

/* Reads a regular file of 1 byte to TL_MAX_FILE_BYTES. Never blocks on a FIFO or device. The error
 * names the file: TL_IO with errno, TL_FORMAT when it is empty, too large or no regular file. */
tl_status tl_file_read(const char *path, tl_buffer *out, size_t *size, tl_error *err);

#endif
