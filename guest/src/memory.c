#include "memory.h"

#include <time.h>

enum { LOOK_MS = 100 };

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool is_limited(const struct process *process) {
    return process->group.fd >= 0 && process->group.memory_bytes > 0 && process->pid != 0 &&
           (process->stage == STAGE_STARTING || process->stage == STAGE_RUNNING);
}

static void look(struct process *process) {
    if (!process->starved && cgroup_holds_too_much(&process->group)) {
        process->starved = true;
        process_kill(process);
    }
}

int memory_watch(struct agent *agent) {
    static uint64_t next;
    bool is_any = false;
    uint64_t now = now_ms();
    for (struct process *process = agent->processes; process < agent->processes + PROCESSES_MOST; process++) {
        if (is_limited(process)) {
            is_any = true;
            if (now >= next) {
                look(process);
            }
        }
    }
    if (now >= next) {
        next = now + LOOK_MS;
    }
    return is_any ? (int)(next - now) : -1;
}
