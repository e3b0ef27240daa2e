/* Control groups, version 1 or 2: one for each process the agent starts, so that all its descendants can be counted,
   limited and killed. Where there are none, every function does nothing. */
#ifndef CAISSON_CGROUP_H
#define CAISSON_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

struct cgroup {
    int fd;                /* -1: none */
    uint64_t memory_bytes; /* what its processes may hold of memory that cannot be thrown away; 0: no limit */
    char name[16];
};

/* The folder below which groups are made, or -1. Controllers are handed down as far as that is possible. */
int cgroups_open(const char *path);

/* Makes a group that `parent` does not have yet. */
void cgroup_make(struct cgroup *group, int parent, unsigned number);

/* False if this group cannot limit the number of processes. */
bool cgroup_limit_pids(const struct cgroup *group, uint64_t most);

/* Where there is a version 2 that can: more than this ends a program. It is never more than the machine can spare: short
   of memory as a whole, it would not kill, but throw away what it executes and read it again, for minutes. */
void cgroup_limit_memory(struct cgroup *group, uint64_t most);

/* True if its processes hold more than that. The kernel looks after the limit too, but lets them have a little more, so that
   what they execute has its place beside what they hold. */
bool cgroup_holds_too_much(const struct cgroup *group);

/* Kills every process in it. */
void cgroup_kill(const struct cgroup *group);

/* True if it is gone: nothing runs in it any more. */
bool cgroup_remove(struct cgroup *group, int parent);

/* What its processes used so far, where the group knows. */
bool cgroup_cpu_us(const struct cgroup *group, uint64_t *cpu_us);
bool cgroup_peak_bytes(const struct cgroup *group, uint64_t *peak_bytes);

#endif
