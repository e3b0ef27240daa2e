/* Starting a process: pipes, limits, an unprivileged user, and a report of what went wrong before it was a program. */
#ifndef CAISSON_SPAWN_H
#define CAISSON_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bytes.h"
#include "cgroup.h"
#include "options.h"

enum { NO_LIMIT = 0 };

struct limits {
    uint64_t pids; /* NO_LIMIT: none */
    uint64_t open_files;
    uint64_t file_bytes;
    uint64_t memory_bytes;
    uint64_t disk_bytes; /* of the writable layer, which is the sandbox's */
};

struct spawn_plan {
    const struct options *options;
    const struct cgroup *group;
    struct limits limits;
    bool limit_pids_by_user; /* no control group does it */
    char *const *argv;       /* or NULL: the ARGV and ENV fields of `start` */
    struct bytes start;
    const char *cwd;    /* relative to the work folder, or absolute */
    const char *output; /* "": no $CAISSON_OUTPUT */
};

/* The agent's ends. Each is -1 where there is none. */
struct spawned {
    pid_t pid;
    int input;
    int output;
    int errors;
    int channel; /* to descriptor 3 of the process; only if the plan has an argv */
    int report;  /* at its end: it is a program now; or a spawn_failure first */
};

struct spawn_failure {
    int step;
    int error;
};

/* The words for a step in a spawn_failure. */
const char *spawn_step_text(int step);

/* False, with errno, if not even a process could be made. */
bool spawn(const struct spawn_plan *plan, struct spawned *spawned);

/* Applies `limits` to a process that runs already. */
void spawn_limit_running(pid_t pid, const struct cgroup *group, const struct limits *limits);

#endif
