#include "modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"

enum { DEVICE_TRIES = 400, DEVICE_PAUSE_NS = 5 * 1000 * 1000, MODULE_PATH_MOST = 256 };

static bool load(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool done = syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

/* Its host tells of a port, and a driver that has just come has not heard it yet. */
static bool await(const char *device) {
    const struct timespec pause = {.tv_nsec = DEVICE_PAUSE_NS};
    for (int i = 0; i < DEVICE_TRIES; i++) {
        if (access(device, F_OK) == 0) {
            return true;
        }
        nanosleep(&pause, NULL);
    }
    return false;
}

const char *modules_load(const struct options *options) {
    static char path[MODULE_PATH_MOST];
    /* Each line names a file beside the list. A kernel that has everything built in comes without one. */
    FILE *list = fopen("/modules/order", "re");
    if (list != NULL) {
        char name[MODULE_PATH_MOST - sizeof "/modules/"];
        bool done = true;
        while (done && fgets(name, sizeof name, list) != NULL) {
            name[strcspn(name, "\n")] = '\0';
            snprintf(path, sizeof path, "/modules/%s", name);
            done = load(path);
        }
        fclose(list);
        if (!done) {
            return path;
        }
    }
    return options->channel != CHANNEL_DEVICE || await(options->device) ? NULL : options->device;
}
