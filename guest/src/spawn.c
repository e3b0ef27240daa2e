#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child.h"

/* Pairs of descriptors: the child's end first. */
enum { INPUT, OUTPUT, ERRORS, CHANNEL, REPORT, PAIRS };

const char *spawn_step_text(int step) {
    switch ((enum spawn_step)step) {
    case STEP_GROUP:
        return "joining its control group";
    case STEP_LIMITS:
        return "setting its limits";
    case STEP_USER:
        return "changing to its user";
    case STEP_FOLDER:
        return "entering its working folder";
    case STEP_DESCRIPTORS:
        return "taking its descriptors";
    case STEP_PROGRAM:
        return "executing the program";
    }
    return "starting it";
}

static bool open_pipe(int pair[2], bool child_reads) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    pair[0] = child_reads ? ends[0] : ends[1];
    pair[1] = child_reads ? ends[1] : ends[0];
    return true;
}

static bool open_pairs(int pairs[PAIRS][2], bool with_channel) {
    if (!open_pipe(pairs[INPUT], true) || !open_pipe(pairs[OUTPUT], false) || !open_pipe(pairs[ERRORS], false) ||
        !open_pipe(pairs[REPORT], false)) {
        return false;
    }
    if (with_channel && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[CHANNEL]) != 0) {
        return false;
    }
    for (int i = 0; i < PAIRS; i++) {
        /* The child's ends stay blocking: a program need not know how to handle EAGAIN on its output. */
        if (pairs[i][1] >= 0 && fcntl(pairs[i][1], F_SETFL, O_NONBLOCK) != 0) {
            return false;
        }
    }
    return true;
}

static void close_ends(int pairs[PAIRS][2], int side) {
    int error = errno;
    for (int i = 0; i < PAIRS; i++) {
        if (pairs[i][side] >= 0) {
            close(pairs[i][side]);
        }
    }
    errno = error;
}

bool spawn(const struct spawn_plan *plan, struct spawned *spawned) {
    int pairs[PAIRS][2];
    for (int i = 0; i < PAIRS; i++) {
        pairs[i][0] = pairs[i][1] = -1;
    }
    pid_t pid = open_pairs(pairs, plan->argv != NULL) ? fork() : -1;
    if (pid == 0) {
        struct child_ends ends = {pairs[INPUT][0], pairs[OUTPUT][0], pairs[ERRORS][0], pairs[CHANNEL][0],
                                  pairs[REPORT][0]};
        child_run(plan, &ends);
    }
    close_ends(pairs, 0);
    if (pid < 0) {
        close_ends(pairs, 1);
        return false;
    }
    *spawned = (struct spawned){pid, pairs[INPUT][1], pairs[OUTPUT][1], pairs[ERRORS][1], pairs[CHANNEL][1],
                                pairs[REPORT][1]};
    return true;
}

static void limit_running(pid_t pid, int resource, uint64_t most) {
    struct rlimit limit = {.rlim_cur = most, .rlim_max = most};
    if (most != NO_LIMIT) {
        prlimit(pid, resource, &limit, NULL);
    }
}

void spawn_limit_running(pid_t pid, const struct cgroup *group, const struct limits *limits) {
    limit_running(pid, RLIMIT_NOFILE, limits->open_files);
    limit_running(pid, RLIMIT_FSIZE, limits->file_bytes);
    if (limits->pids != NO_LIMIT && !cgroup_limit_pids(group, limits->pids)) {
        limit_running(pid, RLIMIT_NPROC, limits->pids);
    }
}
