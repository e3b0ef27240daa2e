#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel.h"

/* Opens one name in a folder. The kernel is told twice not to leave it, since openat2 is missing in gVisor: there is no
   separator in `name`, and O_NOFOLLOW is in `flags`. */
static int open_in(int folder, const char *name, int flags, mode_t mode) {
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK),
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    static bool missing;
    if (!missing) {
        int fd = (int)syscall(SYS_openat2, folder, name, &how, sizeof how);
        if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) {
            return fd;
        }
        missing = errno == ENOSYS;
    }
    return openat(folder, name, (int)how.flags, mode);
}

static int give_away(const struct work_folder *work, int fd, mode_t mode) {
    if (work->is_given_away && fchown(fd, work->owner, work->group) != 0) {
        return -1;
    }
    return fchmod(fd, mode & 0777);
}

static int close_and_fail(int fd) {
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int enter(const struct work_folder *work, int folder, const char *name, bool create) {
    bool made = create && mkdirat(folder, name, 0755) == 0;
    if (create && !made && errno != EEXIST) {
        return -1;
    }
    int inner = open_in(folder, name, O_RDONLY | O_DIRECTORY, 0);
    if (inner >= 0 && made && give_away(work, inner, 0755) != 0) {
        return close_and_fail(inner);
    }
    return inner;
}

/* Takes the first name off `path`; false if it is none a file can have. */
static bool next_name(const char **path, char name[PATH_CAPACITY]) {
    size_t length = strcspn(*path, "/");
    if (length == 0 || length >= PATH_CAPACITY) {
        return false;
    }
    memcpy(name, *path, length);
    name[length] = '\0';
    *path += length;
    if (**path == '/' && *++*path == '\0') {
        return false;
    }
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* The work folder itself stays open. */
static void leave(const struct work_folder *work, int folder) {
    if (folder != work->fd) {
        int error = errno;
        close(folder);
        errno = error;
    }
}

static int leave_and_fail(const struct work_folder *work, int folder) {
    leave(work, folder);
    return -1;
}

/* Walks to the folder that holds the last name of `path`, and leaves that name in `name`. To be given to `leave`. */
static int walk(const struct work_folder *work, const char *path, char name[PATH_CAPACITY], bool create) {
    int folder = work->fd;
    for (;;) {
        if (!next_name(&path, name)) {
            errno = EINVAL;
            return leave_and_fail(work, folder);
        }
        if (*path == '\0') {
            return folder;
        }
        int inner = enter(work, folder, name, create);
        if (inner < 0) {
            return leave_and_fail(work, folder);
        }
        leave(work, folder);
        folder = inner;
    }
}

bool files_open(struct work_folder *work, const char *path, uid_t owner, gid_t group) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *work = (struct work_folder){.fd = fd, .owner = owner, .group = group, .is_given_away = geteuid() == 0};
    return fd >= 0;
}

int files_make_folder(const struct work_folder *work, const char *path, mode_t mode) {
    char name[PATH_CAPACITY];
    int parent = walk(work, path, name, true);
    if (parent < 0) {
        return -1;
    }
    int folder = enter(work, parent, name, true);
    int result = folder < 0 ? -1 : give_away(work, folder, mode);
    if (folder >= 0) {
        close(folder);
    }
    leave(work, parent);
    return result;
}

int files_make_parents(const struct work_folder *work, const char *path) {
    char name[PATH_CAPACITY];
    int parent = walk(work, path, name, true);
    if (parent >= 0) {
        leave(work, parent);
    }
    return parent < 0 ? -1 : 0;
}

static int check_plain(int fd, uint64_t *size) {
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return close_and_fail(fd);
    }
    /* A program may have made a hard link here to a file of root's, for us to overwrite or to read out. */
    if (!S_ISREG(status.st_mode) || status.st_nlink != 1) {
        errno = EISDIR;
        return close_and_fail(fd);
    }
    *size = (uint64_t)status.st_size;
    return fd;
}

int files_create(const struct work_folder *work, const char *path, mode_t mode) {
    char name[PATH_CAPACITY];
    int parent = walk(work, path, name, true);
    if (parent < 0) {
        return -1;
    }
    int fd = open_in(parent, name, O_WRONLY | O_CREAT, 0600);
    leave(work, parent);
    uint64_t size;
    if (fd < 0 || check_plain(fd, &size) < 0) {
        return -1;
    }
    return (size > 0 && ftruncate(fd, 0) < 0) || give_away(work, fd, mode) < 0 ? close_and_fail(fd) : fd;
}

int files_open_result(const struct work_folder *work, const char *path, uint64_t *size) {
    char name[PATH_CAPACITY];
    int parent = walk(work, path, name, false);
    if (parent < 0) {
        return -1;
    }
    int fd = open_in(parent, name, O_RDONLY, 0);
    leave(work, parent);
    return fd < 0 ? -1 : check_plain(fd, size);
}

int files_write(int fd, const uint8_t *bytes, size_t count) {
    while (count > 0) {
        ssize_t written = write(fd, bytes, count);
        if (written < 0 && errno != EINTR) {
            return -1;
        }
        if (written > 0) {
            bytes += written;
            count -= (size_t)written;
        }
    }
    return 0;
}

const char *files_error_kind(int error) {
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return "no_space";
    case EINVAL:
    case ELOOP:
    case EXDEV:
    case ENOTDIR:
    case EISDIR:
    case EEXIST:
    case ENXIO:
    case ENAMETOOLONG:
        return "bad_path";
    default:
        return "io";
    }
}
