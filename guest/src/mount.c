#include "mount.h"

#include <errno.h>
#include <net/if.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    const char *path;
    const char *type;
    unsigned long flags;
    const char *options;
};

/* In this order: the later ones lie in the earlier ones. The last one not above a writable layer, which has its own. */
static const struct place places[] = {
    {"/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
    {"/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL},
    {"/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
    {"/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755"},
    {"/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666"},
    {"/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"},
    {"/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755"},
    {"/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"},
};

const char *mount_devices(void) {
    mkdir("/dev", 0755);
    bool done = mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755") == 0 || errno == EBUSY;
    return done ? NULL : "/dev";
}

/* Up, as every program expects it, and as it is in the other sandboxes. */
static bool raise_loopback(void) {
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno == EAFNOSUPPORT;
    }
    bool done = ioctl(fd, SIOCSIFFLAGS, &loopback) == 0;
    close(fd);
    return done;
}

const char *mount_all(const struct options *options) {
    size_t count = sizeof places / sizeof *places - (options->root != NULL);
    for (size_t i = 0; i < count; i++) {
        const struct place *place = &places[i];
        mkdir(place->path, 0755);
        if (mount(place->type, place->path, place->type, place->flags, place->options) != 0 && errno != EBUSY) {
            return place->path;
        }
    }
    return raise_loopback() ? NULL : "the loopback interface";
}
