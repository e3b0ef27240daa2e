#include "usage.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "textfile.h"

static uint64_t oom_kills(void) {
    static bool unknown;
    uint64_t count = 0;
    /* If not the first process, this is the count of a kernel that is not this sandbox's alone. */
    unknown = unknown || getpid() != 1 || !text_read_number(AT_FDCWD, "/proc/vmstat", "oom_kill", &count);
    return count;
}

/* clock_getcpuclockid(3) without its question whether there is such a clock. See CPUCLOCK_SCHED in the kernel. */
static clockid_t clock_of(pid_t pid) {
    return (clockid_t)(~(unsigned)pid << 3 | 2);
}

struct usage usage_running(pid_t pid, const struct cgroup *group) {
    struct usage usage = {.oom_kills = oom_kills()};
    struct timespec cpu;
    if (!cgroup_cpu_us(group, &usage.cpu_us) && clock_gettime(clock_of(pid), &cpu) == 0) {
        usage.cpu_us = (uint64_t)cpu.tv_sec * 1000000 + (uint64_t)cpu.tv_nsec / 1000;
    }
    return usage;
}

uint64_t usage_peak_running(pid_t pid, const struct cgroup *group) {
    uint64_t bytes = 0, kibibytes = 0;
    if (!cgroup_peak_bytes(group, &bytes)) {
        char path[32];
        snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
        text_read_number(AT_FDCWD, path, "VmHWM:", &kibibytes);
        bytes = kibibytes * 1024;
    }
    return bytes;
}

static uint64_t microseconds(struct timeval time) {
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

struct usage usage_reaped(const struct rusage *rusage, const struct cgroup *group) {
    struct usage usage = {
        .cpu_us = microseconds(rusage->ru_utime) + microseconds(rusage->ru_stime),
        .peak_bytes = (uint64_t)rusage->ru_maxrss * 1024,
        .oom_kills = oom_kills(),
    };
    cgroup_cpu_us(group, &usage.cpu_us);
    cgroup_peak_bytes(group, &usage.peak_bytes);
    return usage;
}
