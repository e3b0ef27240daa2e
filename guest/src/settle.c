#include "settle.h"

#include <sys/wait.h>

#include "agent.h"
#include "fields.h"
#include "output.h"
#include "reply.h"

static void send_exit(struct agent *agent, const struct process *process) {
    uint8_t buffer[128];
    struct message_writer writer = {.buffer = buffer, .capacity = sizeof buffer};
    if (WIFSIGNALED(process->status)) {
        message_put_integer(&writer, TAG_SIGNAL, (uint64_t)WTERMSIG(process->status));
    } else {
        message_put_integer(&writer, TAG_CODE, (uint64_t)WEXITSTATUS(process->status));
    }
    /* The clocks of a process that runs and of one that was reaped do not agree to the microsecond. */
    uint64_t before = process->before.cpu_us, after = process->used.cpu_us;
    message_put_integer(&writer, TAG_CPU_US, after > before ? after - before : 0);
    message_put_integer(&writer, TAG_PEAK_BYTES, process->used.peak_bytes);
    if (agent->options->init) {
        message_put_integer(&writer, TAG_OOM_KILLS, process->used.oom_kills - process->before.oom_kills + process->starved);
    }
    outbox_put(&agent->outbox, FRAME_EXIT, process->stream, buffer, writer.length);
}

static void finish(struct agent *agent, struct process *process) {
    if (process->started) {
        send_exit(agent, process);
    } else {
        reply_error(agent, process->stream, "spawn", "it ended before it began", 0);
    }
    process_release(agent, process);
}

void settle_process(struct agent *agent, struct process *process) {
    if (!reply_possible(agent)) {
        return;
    }
    if (process->stage == STAGE_DEAD && process->report >= 0) {
        process_read_report(agent, process);
    }
    if (process->stage < STAGE_DEAD || process->pid != 0) {
        return;
    }
    if (!cgroup_remove(&process->group, agent->cgroups)) {
        /* Each death below it brings a SIGCHLD, and with it the next try. */
        cgroup_kill(&process->group);
        return;
    }
    if (process->stage == STAGE_SILENT) {
        process_release(agent, process);
    }
    if (process->stage == STAGE_DEAD) {
        if (!output_drain(agent, process) || !harness_drain(agent, process)) {
            return;
        }
        result_open(agent, process);
        process->stage = STAGE_RESULT;
    }
    if (process->stage == STAGE_RESULT && result_send(agent, process) && reply_possible(agent)) {
        finish(agent, process);
    }
}

void settle_silently(struct agent *agent, struct process *process) {
    process_kill(process);
    if (process == agent->harness.process) {
        harness_abandon(&agent->harness);
    }
    process->stage = STAGE_SILENT;
    settle_process(agent, process);
}
