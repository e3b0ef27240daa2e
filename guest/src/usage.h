/* CPU time, memory and out-of-memory kills. */
#ifndef CAISSON_USAGE_H
#define CAISSON_USAGE_H

#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "cgroup.h"

struct usage {
    uint64_t cpu_us;
    uint64_t peak_bytes;
    uint64_t oom_kills; /* of the whole kernel */
};

/* What a process has used that still runs, without its peak of memory. */
struct usage usage_running(pid_t pid, const struct cgroup *group);
uint64_t usage_peak_running(pid_t pid, const struct cgroup *group);

/* What one has used that was reaped with this: its descendants included, if there is a group, otherwise those that were
   waited for. */
struct usage usage_reaped(const struct rusage *rusage, const struct cgroup *group);

#endif
