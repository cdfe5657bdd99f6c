/* A library that stands between a process and the C library (LD_PRELOAD). It sees what Rust and RocksDB
 * do to files below one folder, and does two things with it:
 *
 *   MONETA_DISK_ROOT    the folder; nothing else is touched
 *   MONETA_DISK_TRACE   every change, sync and line on standard output is appended here, in order: a
 *                       record of eight numbers (u64, native order), then a path or bytes
 *   MONETA_DISK_FAULTS  a file of four u32 that the parent may change at any time: which calls fail,
 *                       for which files, how many of them succeed first, how many have failed
 *
 * One lock is held over each call and its record, so the record has the order of the calls. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, TRUNCATE, SYNC, CLOSE, RENAME, UNLINK, MKDIR, RMDIR, OUT };
enum { NO_SPACE = 1, WRITE_ERROR = 2, SYNC_ERROR = 4, READ_ERROR = 8 };
enum { SEGMENTS = 1, LOG = 2, TABLE = 4, OTHER = 8 };

#define FILES 4096
static char kind[FILES]; /* 0: not below the folder; else which files it belongs to */
static char appends[FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root;
static int trace = -1;
static volatile uint32_t *faults;

#define REAL(name, type, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

__attribute__((constructor)) static void start(void)
{
    const char *path;
    root = getenv("MONETA_DISK_ROOT");
    if ((path = getenv("MONETA_DISK_TRACE")))
        trace = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if ((path = getenv("MONETA_DISK_FAULTS"))) {
        int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
        void *map = mmap(0, 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) faults = map;
        syscall(SYS_close, fd);
    }
}

static int below(const char *path)
{
    return root && path && !strncmp(path, root, strlen(root));
}

static char kind_of(const char *path)
{
    size_t length = strlen(path);
    if (strstr(path, "/segments/")) return SEGMENTS;
    if (length > 4 && !strcmp(path + length - 4, ".log")) return LOG;
    if (length > 4 && !strcmp(path + length - 4, ".sst")) return TABLE;
    return OTHER;
}

static char kind_of_file(int fd)
{
    return fd >= 0 && fd < FILES ? kind[fd] : 0;
}

/* Whether this call is to fail. */
static int fails(uint32_t which, char of)
{
    if (!faults || !(faults[0] & which) || !(faults[1] & (uint32_t)of)) return 0;
    if (faults[2]) {
        faults[2]--;
        return 0;
    }
    faults[3]++;
    return 1;
}

static void record(uint64_t op, uint64_t fd, uint64_t a, uint64_t b, const void *first, uint64_t n,
                   const void *second, uint64_t m)
{
    if (trace < 0) return;
    uint64_t head[8] = {op, fd, a, b, n, m, 0, 0};
    struct iovec parts[3] = {{head, sizeof head}, {(void *)first, n}, {(void *)second, m}};
    int kept = errno;
    syscall(SYS_writev, trace, parts, 3);
    errno = kept;
}

static int opened(const char *path, int flags, mode_t mode, int (*real)(const char *, int, ...))
{
    if (!below(path)) return real(path, flags, mode);
    pthread_mutex_lock(&lock);
    int new = access(path, F_OK) != 0;
    int fd = real(path, flags, mode);
    if (fd >= 0 && fd < FILES) {
        kind[fd] = kind_of(path);
        appends[fd] = !!(flags & O_APPEND);
        record(OPEN, fd, new, !!(flags & O_TRUNC), path, strlen(path), 0, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        REAL(#name, int, const char *, int, ...); \
        return opened(path, flags, mode, real); \
    }
OPENS(open)
OPENS(open64)

int close(int fd)
{
    REAL("close", int, int);
    if (!kind_of_file(fd)) return real(fd);
    pthread_mutex_lock(&lock);
    record(CLOSE, fd, 0, 0, 0, 0, 0, 0);
    kind[fd] = 0;
    int done = real(fd);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    REAL("write", ssize_t, int, const void *, size_t);
    if (fd == STDOUT_FILENO && trace >= 0) {
        pthread_mutex_lock(&lock);
        record(OUT, fd, 0, 0, bytes, count, 0, 0);
        ssize_t done = real(fd, bytes, count);
        pthread_mutex_unlock(&lock);
        return done;
    }
    if (!kind_of_file(fd)) return real(fd, bytes, count);
    pthread_mutex_lock(&lock);
    ssize_t done = -1;
    if (fails(WRITE_ERROR, kind[fd])) {
        errno = EIO;
    } else {
        int full = fails(NO_SPACE, kind[fd]);
        off_t at = lseek(fd, 0, appends[fd] ? SEEK_END : SEEK_CUR);
        /* A full disk takes what still fits, then nothing. */
        size_t fits = full ? (faults[3] == 1 ? count / 2 : 0) : count;
        if (full && !fits) {
            errno = ENOSPC;
        } else {
            done = real(fd, bytes, fits);
            if (done > 0) record(WRITE, fd, at, 0, bytes, done, 0, 0);
        }
    }
    pthread_mutex_unlock(&lock);
    return done;
}

static ssize_t written_at(int fd, const void *bytes, size_t count, off_t at,
                          ssize_t (*real)(int, const void *, size_t, off_t))
{
    if (!kind_of_file(fd)) return real(fd, bytes, count, at);
    pthread_mutex_lock(&lock);
    ssize_t done = -1;
    if (fails(WRITE_ERROR, kind[fd])) {
        errno = EIO;
    } else if (fails(NO_SPACE, kind[fd])) {
        errno = ENOSPC;
    } else {
        done = real(fd, bytes, count, at);
        if (done > 0) record(WRITE, fd, at, 0, bytes, done, 0, 0);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
    REAL("pwrite", ssize_t, int, const void *, size_t, off_t);
    return written_at(fd, bytes, count, at, real);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at)
{
    REAL("pwrite64", ssize_t, int, const void *, size_t, off_t);
    return written_at(fd, bytes, count, at, real);
}

/* Rust asks for this where it has several buffers: one after the other is as good. */
ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL("writev", ssize_t, int, const struct iovec *, int);
    if (!kind_of_file(fd) && fd != STDOUT_FILENO) return real(fd, parts, count);
    for (int i = 0; i < count; i++)
        if (parts[i].iov_len) return write(fd, parts[i].iov_base, parts[i].iov_len);
    return 0;
}

static ssize_t read_at(int fd, void *bytes, size_t count, off_t at,
                       ssize_t (*real)(int, void *, size_t, off_t))
{
    if (kind_of_file(fd)) {
        pthread_mutex_lock(&lock);
        int wrong = fails(READ_ERROR, kind[fd]);
        pthread_mutex_unlock(&lock);
        if (wrong) {
            errno = EIO;
            return -1;
        }
    }
    return real(fd, bytes, count, at);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t at)
{
    REAL("pread", ssize_t, int, void *, size_t, off_t);
    return read_at(fd, bytes, count, at, real);
}

ssize_t pread64(int fd, void *bytes, size_t count, off_t at)
{
    REAL("pread64", ssize_t, int, void *, size_t, off_t);
    return read_at(fd, bytes, count, at, real);
}

static int synced(int fd, int (*real)(int))
{
    if (!kind_of_file(fd)) return real(fd);
    pthread_mutex_lock(&lock);
    int done = -1;
    if (fails(SYNC_ERROR, kind[fd])) {
        errno = EIO;
    } else {
        done = real(fd);
        if (!done) record(SYNC, fd, 0, 0, 0, 0, 0, 0);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd)
{
    REAL("fsync", int, int);
    return synced(fd, real);
}

int fdatasync(int fd)
{
    REAL("fdatasync", int, int);
    return synced(fd, real);
}

int ftruncate(int fd, off_t length)
{
    REAL("ftruncate", int, int, off_t);
    if (!kind_of_file(fd)) return real(fd, length);
    pthread_mutex_lock(&lock);
    int done = real(fd, length);
    if (!done) record(TRUNCATE, fd, length, 0, 0, 0, 0, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int rename(const char *from, const char *to)
{
    REAL("rename", int, const char *, const char *);
    if (!below(from)) return real(from, to);
    pthread_mutex_lock(&lock);
    int done = real(from, to);
    if (!done) record(RENAME, 0, 0, 0, from, strlen(from), to, strlen(to));
    pthread_mutex_unlock(&lock);
    return done;
}

#define ON_PATH(name, op, extra, pass) \
    int name(const char *path extra) \
    { \
        REAL(#name, int, const char * extra); \
        if (!below(path)) return real(path pass); \
        pthread_mutex_lock(&lock); \
        int done = real(path pass); \
        if (!done) record(op, 0, 0, 0, path, strlen(path), 0, 0); \
        pthread_mutex_unlock(&lock); \
        return done; \
    }
#define NOTHING
#define COMMA ,
ON_PATH(unlink, UNLINK, NOTHING, NOTHING)
ON_PATH(rmdir, RMDIR, NOTHING, NOTHING)
ON_PATH(mkdir, MKDIR, COMMA mode_t mode, COMMA mode)
