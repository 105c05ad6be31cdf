#include "image/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *tl_path_show(const char *path, char text[TL_PATH_TEXT])
{
    /* A name may hold newlines or terminal escapes: they must not reach a log as they are. */
    static const char digits[] = "0123456789abcdef";
    const size_t room = TL_PATH_TEXT - 8; /* quotes, dots, terminator */
    const char *start = path + strlen(path);
    size_t used = 0;
    while (start > path) {
        unsigned char c = (unsigned char)start[-1];
        size_t wide = c < 0x20 || c == 0x7f ? 4 : 1;
        if (used + wide > room)
            break;
        used += wide;
        start--;
    }
    while (start > path && ((unsigned char)*start & 0xc0) == 0x80)
        start++; /* not in the middle of a UTF-8 character */
    char *to = text;
    *to++ = '\'';
    if (start > path)
        to = stpcpy(to, "...");
    for (; *start != '\0'; start++) {
        unsigned char c = (unsigned char)*start;
        if (c < 0x20 || c == 0x7f) {
            *to++ = '\\';
            *to++ = 'x';
            *to++ = digits[c >> 4];
            *to++ = digits[c & 15];
        } else {
            *to++ = *start;
        }
    }
    *to++ = '\'';
    *to = '\0';
    return text;
}

static tl_status refuse_mode(const char *path, mode_t mode, tl_error *err)
{
    char shown[TL_PATH_TEXT];
    const char *kind = S_ISDIR(mode)    ? "a directory"
                       : S_ISFIFO(mode) ? "a named pipe"
                       : S_ISSOCK(mode) ? "a socket"
                                        : "a device";
    return tl_fail(err, TL_FORMAT, "%s is not an image file: it is %s", tl_path_show(path, shown),
                   kind);
}

static tl_status read_open(int fd, const char *path, tl_buffer *out, size_t *size, tl_error *err)
{
    char shown[TL_PATH_TEXT];
    struct stat st;
    if (fstat(fd, &st) != 0)
        return tl_fail_io(err, errno, "cannot read %s", tl_path_show(path, shown));
    if (!S_ISREG(st.st_mode))
        return refuse_mode(path, st.st_mode, err);
    if ((uintmax_t)st.st_size > TL_MAX_FILE_BYTES)
        return tl_fail(err, TL_FORMAT, "%s is too large for an image file: %jd bytes, limit %zu",
                       tl_path_show(path, shown), (intmax_t)st.st_size, TL_MAX_FILE_BYTES);
    size_t expected = (size_t)st.st_size, done = 0;
    TL_TRY(tl_buffer_reserve(out, expected + 1, "an image file", err));
    while (done < expected) {
        ssize_t n = read(fd, (uint8_t *)out->data + done, expected - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tl_fail_io(err, errno, "cannot read %s", tl_path_show(path, shown));
        if (n == 0)
            break; /* shorter than a moment ago: the decoder will say truncated */
        done += (size_t)n;
    }
    if (done == 0)
        return tl_fail(err, TL_FORMAT, "%s is empty (0 bytes)", tl_path_show(path, shown));
    *size = done;
    return TL_OK;
}

tl_status tl_file_read(const char *path, tl_buffer *out, size_t *size, tl_error *err)
{
    char shown[TL_PATH_TEXT];
    /* O_NONBLOCK: opening a FIFO that nobody writes to must not hang. */
    int fd;
    do {
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0 && errno == ENXIO)
        return refuse_mode(path, S_IFSOCK, err);
    if (fd < 0)
        return tl_fail_io(err, errno, "cannot open %s", tl_path_show(path, shown));
    tl_status status = read_open(fd, path, out, size, err);
    close(fd); /* read only: nothing can be lost here */
    return status;
}
