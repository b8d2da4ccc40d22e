// Makes writes to files fail like on a full disk, while the file FULL_DISK_MARKER exists. A process
// loads it with LD_PRELOAD. FULL_DISK_PATH is a part of the paths of the files that are on the disk.
// If FULL_DISK_GROWTH is set, a file keeps the blocks that it has: only a write behind its end fails.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

// An offset that means the current one of the file.
#define CURRENT (-1)

#define NEXT(type, name)                                                                          \
    static type;                                                                                  \
    if (!next)                                                                                    \
        *(void **)&next = dlsym(RTLD_NEXT, name)

static int is_full(int file, off64_t offset, off64_t count) {
    const char *marker = getenv("FULL_DISK_MARKER"), *part = getenv("FULL_DISK_PATH");
    if (!marker || !part || access(marker, F_OK) != 0)
        return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    if (!strstr(path, part))
        return 0;
    struct stat64 status;
    if (!getenv("FULL_DISK_GROWTH") || fstat64(file, &status) != 0)
        return 1;
    if (offset == CURRENT)
        offset = lseek64(file, 0, SEEK_CUR);
    return offset + count > status.st_size;
}

static ssize_t refuse(void) {
    errno = ENOSPC;
    return -1;
}

static off64_t size_of(const struct iovec *parts, int count) {
    off64_t size = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    return size;
}

ssize_t write(int file, const void *bytes, size_t count) {
    NEXT(ssize_t (*next)(int, const void *, size_t), "write");
    return is_full(file, CURRENT, count) ? refuse() : next(file, bytes, count);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    NEXT(ssize_t (*next)(int, const struct iovec *, int), "writev");
    return is_full(file, CURRENT, size_of(parts, count)) ? refuse() : next(file, parts, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
    NEXT(ssize_t (*next)(int, const void *, size_t, off64_t), "pwrite64");
    return is_full(file, offset, count) ? refuse() : next(file, bytes, count, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
    return pwrite64(file, bytes, count, offset);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset) {
    NEXT(ssize_t (*next)(int, const struct iovec *, int, off64_t), "pwritev64");
    off64_t size = size_of(parts, count);
    return is_full(file, offset, size) ? refuse() : next(file, parts, count, offset);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset) {
    return pwritev64(file, parts, count, offset);
}

int posix_fallocate64(int file, off64_t offset, off64_t count) {
    NEXT(int (*next)(int, off64_t, off64_t), "posix_fallocate64");
    return is_full(file, offset, count) ? ENOSPC : next(file, offset, count);
}

int posix_fallocate(int file, off_t offset, off_t count) {
    return posix_fallocate64(file, offset, count);
}
