#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { DEVICE_TRIES = 400, DEVICE_PAUSE_NS = 5 * 1000 * 1000 };

#define BALLAST "ballast"

static int upper = -1; /* the disk of the writable layer */

static const unsigned long plain = MS_NOSUID | MS_NODEV;

/* A driver that was loaded as a module finds its devices a little later. */
static bool mount_device(const char *device, const char *place, const char *type, unsigned long flags) {
    const struct timespec pause = {.tv_nsec = DEVICE_PAUSE_NS};
    for (int i = 0; i < DEVICE_TRIES; i++) {
        if (mount(device, place, type, flags, NULL) == 0) {
            return true;
        }
        if (errno != ENOENT && errno != ENXIO && errno != ENOTBLK) {
            return false;
        }
        nanosleep(&pause, NULL);
    }
    return false;
}

static bool mount_upper(const char *disk) {
    if (disk != NULL) {
        if (!mount_device(disk, "/upper", "ext4", plain | MS_NOATIME)) {
            return false;
        }
        /* The way to it is gone once the root is another. */
        upper = open("/upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return upper >= 0;
    }
    return mount("tmpfs", "/upper", "tmpfs", plain, "mode=0755") == 0;
}

static bool bring_tools(void) {
    mkdir("/new/caisson", 0755);
    return mount("/caisson", "/new/caisson", NULL, MS_BIND, NULL) == 0 &&
           mount(NULL, "/new/caisson", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | plain, NULL) == 0;
}

/* The way out of an initramfs, which can neither be unmounted nor pivoted away from (switch_root(8)). */
static bool switch_root(void) {
    return chdir("/new") == 0 && mount(".", "/", NULL, MS_MOVE, NULL) == 0 && chroot(".") == 0 && chdir("/") == 0;
}

static bool make_folders(const struct options *options) {
    /* On the disk like all the rest that the program writes: in memory, it would be taken from the program's. */
    mkdir("/tmp", 01777);
    mkdir(options->work, 0755);
    return chmod("/tmp", 01777) == 0 && chown(options->work, options->user, options->group) == 0;
}

const char *root_enter(const struct options *options) {
    static const char *const folders[] = {"/lower", "/upper", "/new"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        mkdir(folders[i], 0755);
    }
    if (!mount_device(options->root, "/lower", "erofs", plain | MS_RDONLY)) {
        return options->root;
    }
    if (!mount_upper(options->disk)) {
        return "the writable layer";
    }
    mkdir("/upper/data", 0755);
    mkdir("/upper/work", 0755);
    if (mount("overlay", "/new", "overlay", plain, "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work") != 0) {
        return "the root";
    }
    if (!bring_tools()) {
        return "/caisson";
    }
    if (!switch_root()) {
        return "switching to the root";
    }
    return make_folders(options) ? NULL : options->work;
}

bool root_limit_disk(uint64_t most) {
    static bool is_done;
    struct statvfs disk;
    if (upper < 0 || is_done) {
        return true;
    }
    if (fstatvfs(upper, &disk) != 0) {
        return false;
    }
    uint64_t bytes = (uint64_t)disk.f_blocks * disk.f_frsize;
    if (bytes > most) {
        /* Beside the layer's data, so no program sees it. Blocks that are only set aside are never written. */
        int fd = openat(upper, BALLAST, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0) {
            return false;
        }
        int error = posix_fallocate(fd, 0, (off_t)(bytes - most));
        close(fd);
        if (error != 0) {
            errno = error;
            return false;
        }
    }
    is_done = true;
    return true;
}
