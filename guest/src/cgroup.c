#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "textfile.h"

/* ROOM: for what programs execute and read. SPARE: for all that is not theirs. */
enum { ROOM_BYTES = 16 << 20, SPARE_BYTES = 8 << 20 };

int cgroups_open(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        /* Version 2 only, and one by one: a controller that is missing makes the whole line fail. */
        text_write(fd, "cgroup.subtree_control", "+pids");
        text_write(fd, "cgroup.subtree_control", "+memory");
        text_write(fd, "cgroup.subtree_control", "+cpu");
    }
    return fd;
}

void cgroup_make(struct cgroup *group, int parent, unsigned number) {
    group->fd = -1;
    group->memory_bytes = 0;
    snprintf(group->name, sizeof group->name, "process-%u", number);
    if (parent >= 0 && mkdirat(parent, group->name, 0755) == 0) {
        group->fd = openat(parent, group->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
}

bool cgroup_limit_pids(const struct cgroup *group, uint64_t most) {
    return group->fd >= 0 && text_write(group->fd, "pids.max", text_of_number(most));
}

void cgroup_limit_memory(struct cgroup *group, uint64_t most) {
    if (group->fd < 0 || most == 0) {
        return;
    }
    uint64_t available_kib = 0, held = 0;
    text_read_number(group->fd, "memory.current", "", &held);
    if (text_read_number(AT_FDCWD, "/proc/meminfo", "MemAvailable:", &available_kib)) {
        uint64_t possible = available_kib * 1024 + held;
        if (possible > ROOM_BYTES + SPARE_BYTES && most > possible - ROOM_BYTES - SPARE_BYTES) {
            most = possible - ROOM_BYTES - SPARE_BYTES;
        }
    }
    group->memory_bytes = most;
    text_write(group->fd, "memory.max", text_of_number(most + ROOM_BYTES));
    text_write(group->fd, "memory.oom.group", "1");
}

bool cgroup_holds_too_much(const struct cgroup *group) {
    static const char *const held[] = {"anon", "shmem", "kernel_stack", "pagetables", "percpu", "sock", "slab_unreclaimable"};
    uint64_t bytes = 0;
    if (!text_read_number(group->fd, "memory.current", "", &bytes) || bytes <= group->memory_bytes) {
        return false;
    }
    char text[TEXT_CAPACITY];
    if (!text_read(group->fd, "memory.stat", text)) {
        return false;
    }
    uint64_t total = 0;
    for (size_t i = 0; i < sizeof held / sizeof *held; i++) {
        if (text_find_number(text, held[i], &bytes)) {
            total += bytes;
        }
    }
    return total > group->memory_bytes;
}

static void kill_one(pid_t pid) {
    /* A process of an outer pid namespace is listed as 0, which kill(2) takes for our own process group. */
    if (pid > 0) {
        kill(pid, SIGKILL);
    }
}

static void kill_listed(const struct cgroup *group) {
    char pids[TEXT_CAPACITY];
    int fd = openat(group->fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    /* A read ends at the end of a line only by chance; the part that is cut off comes with the next one. */
    size_t length = 0;
    ssize_t count;
    while ((count = read(fd, pids + length, sizeof pids - length)) > 0) {
        length += (size_t)count;
        size_t done = 0;
        for (size_t i = 0; i < length; i++) {
            if (pids[i] == '\n') {
                pids[i] = '\0';
                kill_one((pid_t)strtol(pids + done, NULL, 10));
                done = i + 1;
            }
        }
        memmove(pids, pids + done, length - done);
        length -= done;
    }
    close(fd);
}

void cgroup_kill(const struct cgroup *group) {
    if (group->fd < 0 || text_write(group->fd, "cgroup.kill", "1")) {
        return;
    }
    /* No cgroup.kill before Linux 5.14 and in version 1. What cannot fork cannot outrun the list. */
    text_write(group->fd, "pids.max", "0");
    kill_listed(group);
}

bool cgroup_remove(struct cgroup *group, int parent) {
    if (group->fd < 0) {
        return true;
    }
    if (unlinkat(parent, group->name, AT_REMOVEDIR) != 0 && errno == EBUSY) {
        return false;
    }
    close(group->fd);
    group->fd = -1;
    return true;
}

bool cgroup_cpu_us(const struct cgroup *group, uint64_t *cpu_us) {
    return group->fd >= 0 && text_read_number(group->fd, "cpu.stat", "usage_usec", cpu_us);
}

bool cgroup_peak_bytes(const struct cgroup *group, uint64_t *peak_bytes) {
    return group->fd >= 0 && text_read_number(group->fd, "memory.peak", "", peak_bytes);
}
