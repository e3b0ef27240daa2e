/* caisson-agent: what the host talks to inside a sandbox. docs/reference/guest-agent.md describes it from outside. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "loop.h"
#include "modules.h"
#include "mount.h"
#include "network.h"
#include "reap.h"
#include "root.h"
#include "survive.h"

static struct options options;
static struct agent agent;
/* One byte more than a frame: a child ends its last string there. */
static uint8_t inbox_buffer[HEADER_BYTES + MAX_PAYLOAD + 1];
static uint8_t outbox_buffer[OUTBOX_BYTES];

static _Noreturn void leave(int code) {
    if (options.init) {
        sync();
        reboot(RB_POWER_OFF);
    }
    _exit(code);
}

static _Noreturn void die(const char *what) {
    fprintf(stderr, "caisson-agent: %s: %s\n", what, strerror(errno));
    leave(EXIT_FAILURE);
}

/* A child's descriptors 0 to 3 are put in place one after the other, so none of ours may be among them. */
static void reserve_descriptors(void) {
    int fd;
    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0) {
            die("/dev/null");
        }
    } while (fd <= 3);
    close(fd);
}

static int open_signals(void) {
    sigset_t awaited, all;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGTERM);
    sigaddset(&awaited, SIGINT);
    /* Children begin with everything blocked, until they have a process group of their own. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    return signalfd(-1, &awaited, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void prepare(void) {
    umask(022);
    agent.options = &options;
    agent.inbox = (struct frame_reader){inbox_buffer, HEADER_BYTES + MAX_PAYLOAD, 0, 0, frame_from_host};
    agent.outbox = (struct outbox){outbox_buffer, sizeof outbox_buffer, 0, 0};
    agent.harness.channel = -1;
    agent.cgroups = options.cgroup != NULL ? cgroups_open(options.cgroup) : -1;
    agent.signals = open_signals();
    if (agent.signals < 0) {
        die("signalfd");
    }
    if (!files_open(&agent.work, options.work, options.user, options.group)) {
        die(options.work);
    }
    if (!transport_open(&agent.transport, &options)) {
        die("the channel");
    }
    if (options.harness != NULL && !harness_start(&agent)) {
        die(options.harness[0]);
    }
}

/* NULL, or with errno what could not be done. */
static const char *become_init(void) {
    const char *missing = mount_devices();
    if (missing == NULL) {
        missing = modules_load(&options);
    }
    if (missing == NULL && options.root != NULL) {
        missing = root_enter(&options);
    }
    if (missing == NULL) {
        missing = mount_all(&options);
    }
    return missing == NULL && options.has_network ? network_up(&options.network) : missing;
}

int main(int argc, char **argv) {
    if (!options_read(&options, argc, argv)) {
        return 2;
    }
    const char *missing = options.init ? become_init() : NULL;
    if (missing != NULL) {
        die(missing);
    }
    reserve_descriptors();
    survive();
    prepare();
    loop_run(&agent);
    reap_everything(&agent);
    leave(agent.ending == ENDING_ORDERLY ? EXIT_SUCCESS : EXIT_FAILURE);
}
