/* Status codes and error texts. Every fallible core function returns tl_status and takes a
 * tl_error * last; the text says what was given, where (layer or file) and what is allowed. */
#ifndef TL_BASE_STATUS_H
#define TL_BASE_STATUS_H

typedef enum tl_status {
    TL_OK = 0,
#define X(code, exception) TL_##code,
#include "status.def"
#undef X
    TL_STATUS_COUNT
} tl_status;

#define TL_ERROR_TEXT 1024

typedef struct tl_error {
    tl_status code;
    int os_errno; /* only with TL_IO */
    char text[TL_ERROR_TEXT];
} tl_error;

/* The only way to make an error: fills *err (which may be NULL) and returns code. Keeps the first
 * error: an *err that already holds one is left alone, so cleanup cannot hide the cause. */
tl_status tl_fail(tl_error *err, tl_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Same with TL_IO; os_errno is an errno value, its text is appended. */
tl_status tl_fail_io(tl_error *err, int os_errno, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define TL_TRY(expr)                                                                              \
    do {                                                                                          \
        tl_status tl_try_status = (expr);                                                         \
        if (tl_try_status != TL_OK)                                                               \
            return tl_try_status;                                                                 \
    } while (0)

/* For functions with cleanup: sets the local `status` and jumps to `fail`. */
#define TL_TRY_GOTO(expr)                                                                         \
    do {                                                                                          \
        status = (expr);                                                                          \
        if (status != TL_OK)                                                                      \
            goto fail;                                                                            \
    } while (0)

#endif
