#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void write_text(tl_error *err, tl_status code, int os_errno, const char *format,
                       va_list args)
{
    err->code = code;
    err->os_errno = os_errno;
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    if (os_errno != 0 && n >= 0 && (size_t)n < sizeof err->text) {
        char buffer[128];
        /* GNU strerror_r: thread-safe, may return a static string instead of buffer. */
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s",
                 strerror_r(os_errno, buffer, sizeof buffer));
    }
}

tl_status tl_fail(tl_error *err, tl_status code, const char *format, ...)
{
    if (err != NULL && err->code == TL_OK) {
        va_list args;
        va_start(args, format);
        write_text(err, code, 0, format, args);
        va_end(args);
    }
    return code;
}

tl_status tl_fail_io(tl_error *err, int os_errno, const char *format, ...)
{
    if (err != NULL && err->code == TL_OK) {
        va_list args;
        va_start(args, format);
        write_text(err, TL_IO, os_errno, format, args);
        va_end(args);
    }
    return TL_IO;
}
