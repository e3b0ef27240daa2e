#include "process.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "agent.h"
#include "reply.h"

struct process *process_find(struct agent *agent, uint32_t stream) {
    for (struct process *process = agent->processes; process < agent->processes + PROCESSES_MOST; process++) {
        if (process->stage != STAGE_FREE && process->stream == stream) {
            return process;
        }
    }
    return NULL;
}

struct process *process_claim(struct agent *agent, uint32_t stream, enum stage stage) {
    for (struct process *process = agent->processes; process < agent->processes + PROCESSES_MOST; process++) {
        if (process->stage == STAGE_FREE) {
            /* Not a whole new struct: that would touch, and so lock, the buffers of a place that was never used. */
            process->stage = stage;
            process->stream = stream;
            process->file = process->report = process->input = process->output = process->errors = -1;
            process->result = process->group.fd = -1;
            process->pid = 0;
            process->started = process->starved = false;
            process->input_ends = false;
            process->input_window = INPUT_WINDOW;
            process->input_taken = 0;
            process->credit = OUTPUT_WINDOW;
            process->result_path[0] = '\0';
            process->result_left = 0;
            process->result_limit = UINT64_MAX;
            process->result_state = RESULT_NONE;
            process->before = process->used = (struct usage){0};
            ring_clear(&process->pending_input);
            return process;
        }
    }
    return NULL;
}

void process_attach(struct process *process, const struct spawned *spawned, enum stage stage) {
    process->stage = stage;
    process->pid = spawned->pid;
    process->input = spawned->input;
    process->output = spawned->output;
    process->errors = spawned->errors;
    process->report = spawned->report;
}

static void close_descriptor(int *fd) {
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void process_release(struct agent *agent, struct process *process) {
    close_descriptor(&process->file);
    close_descriptor(&process->report);
    close_descriptor(&process->input);
    close_descriptor(&process->output);
    close_descriptor(&process->errors);
    close_descriptor(&process->result);
    cgroup_remove(&process->group, agent->cgroups);
    process->stage = STAGE_FREE;
    process->stream = 0;
}

void process_began(struct agent *agent, struct process *process) {
    outbox_put(&agent->outbox, FRAME_STARTED, process->stream, NULL, 0);
    process->started = true;
    if (process->stage == STAGE_STARTING) {
        process->stage = STAGE_RUNNING;
    }
}

void process_read_report(struct agent *agent, struct process *process) {
    struct spawn_failure failure;
    ssize_t count = read(process->report, &failure, sizeof failure);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    close_descriptor(&process->report);
    if (process->stage == STAGE_WAITING) {
        return; /* a harness that could not be started will be reaped, and that is what matters then */
    }
    if (count == (ssize_t)sizeof failure) {
        reply_error(agent, process->stream, "spawn", spawn_step_text(failure.step), failure.error);
        process->stage = STAGE_SILENT;
    } else {
        process_began(agent, process);
    }
}

void process_signal(const struct process *process, int number) {
    if (process->pid == 0) {
        return;
    }
    if (number == SIGKILL) {
        process_kill(process);
    } else if (kill(-process->pid, number) != 0) {
        /* It has not made its own process group yet; the signal waits until it has, since it begins with all blocked. */
        kill(process->pid, number);
    }
}

void process_kill(const struct process *process) {
    cgroup_kill(&process->group);
    if (process->pid > 0) {
        kill(-process->pid, SIGKILL);
        kill(process->pid, SIGKILL);
    }
}

void process_ended(struct process *process, int status, const struct usage *used) {
    process->pid = 0;
    process->status = status;
    process->used = *used;
    if (process->stage != STAGE_SILENT) {
        process->stage = STAGE_DEAD;
    }
}
