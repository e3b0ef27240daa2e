#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "fields.h"
#include "output.h"
#include "reply.h"

enum { CODE_MOST = 255 };

static uint8_t inbox_buffer[HEADER_BYTES + HARNESS_PAYLOAD_MOST];
static uint8_t outbox_buffer[HARNESS_OUTBOX_BYTES];

bool harness_start(struct agent *agent) {
    struct harness *harness = &agent->harness;
    struct process *process = process_claim(agent, 0, STAGE_WAITING);
    cgroup_make(&process->group, agent->cgroups, (unsigned)(process - agent->processes));
    cgroup_limit_memory(&process->group, (uint64_t)agent->options->memory_mb << 20);
    struct spawn_plan plan = {
        .options = agent->options,
        .group = &process->group,
        .argv = agent->options->harness,
        .cwd = "",
        .output = "",
    };
    struct spawned spawned;
    if (!spawn(&plan, &spawned)) {
        return false;
    }
    process_attach(process, &spawned, STAGE_WAITING);
    harness->stage = HARNESS_BOOTING;
    harness->process = process;
    harness->channel = spawned.channel;
    harness->inbox = (struct frame_reader){inbox_buffer, sizeof inbox_buffer, 0, 0, frame_from_harness};
    harness->outbox = (struct outbox){outbox_buffer, sizeof outbox_buffer, 0, 0};
    return true;
}

bool harness_is_ready(const struct harness *harness) {
    return harness->stage == HARNESS_ABSENT || harness->stage == HARNESS_READY;
}

static void close_channel(struct harness *harness) {
    if (harness->channel >= 0) {
        close(harness->channel);
    }
    harness->channel = -1;
    harness->stage = HARNESS_CLOSED;
    outbox_clear(&harness->outbox);
}

void harness_renew(struct agent *agent, const uint8_t nonce[NONCE_BYTES], bool rehearses) {
    struct harness *harness = &agent->harness;
    uint8_t buffer[2 * FIELD_HEADER_BYTES + NONCE_BYTES];
    struct message_writer writer = {.buffer = buffer, .capacity = sizeof buffer};
    message_put(&writer, TAG_NONCE, nonce, NONCE_BYTES);
    if (harness->stage == HARNESS_ABSENT) {
        outbox_put(&agent->outbox, FRAME_RENEWED, 0, buffer, writer.length);
        return;
    }
    if (rehearses) {
        message_put(&writer, TAG_REHEARSE, nonce, 0);
    }
    memcpy(harness->nonce, nonce, NONCE_BYTES);
    outbox_put(&harness->outbox, FRAME_RENEW, 0, buffer, writer.length);
    harness->stage = HARNESS_RENEWING;
    harness->is_renewing = true;
    harness_send(agent);
}

void harness_begin(struct agent *agent, struct bytes start, uint64_t input_size) {
    struct harness *harness = &agent->harness;
    outbox_put(&harness->outbox, FRAME_START, harness->process->stream, start.at, start.length);
    harness->stage = HARNESS_STARTING;
    harness->input_left = input_size;
    harness_send(agent);
}

bool harness_input(struct agent *agent, const uint8_t *bytes, uint32_t count) {
    struct harness *harness = &agent->harness;
    struct process *process = harness->process;
    if (count == 0 || count > harness->input_left || count > process->input_window) {
        return false;
    }
    harness->input_left -= count;
    harness->input_taken += count;
    process->input_window -= count;
    if (harness->channel >= 0) {
        outbox_put(&harness->outbox, FRAME_INPUT, process->stream, bytes, count);
    }
    harness_send(agent);
    return true;
}

void harness_send(struct agent *agent) {
    struct harness *harness = &agent->harness;
    if (harness->channel >= 0 && !outbox_flush(&harness->outbox, harness->channel)) {
        outbox_clear(&harness->outbox); /* it reads no more; what it wrote before that is still to be read */
    }
    if (harness->input_taken > 0 && outbox_is_empty(&harness->outbox)) {
        harness->process->input_taken += harness->input_taken;
        harness->input_taken = 0;
    }
}

/* The program in the harness can write to the channel too, so a fault is the program's and ends it. */
static void refuse(struct agent *agent, const char *why) {
    struct harness *harness = &agent->harness;
    reply_error(agent, harness->process->stream, "protocol", why, 0);
    close_channel(harness);
    process_kill(harness->process);
}

static void take_renewed(struct agent *agent) {
    uint8_t buffer[FIELD_HEADER_BYTES + NONCE_BYTES];
    struct message_writer writer = {.buffer = buffer, .capacity = sizeof buffer};
    message_put(&writer, TAG_NONCE, agent->harness.nonce, NONCE_BYTES);
    outbox_put(&agent->outbox, FRAME_RENEWED, 0, buffer, writer.length);
    agent->harness.stage = HARNESS_READY;
    agent->harness.is_renewing = false;
}

static void take_ready(struct agent *agent, const struct frame *frame) {
    struct harness *harness = &agent->harness;
    memcpy(harness->ready, frame->payload, frame->length);
    harness->ready_length = frame->length;
    harness->stage = HARNESS_READY;
    if (agent->transport.output < 0) {
        harness->is_renewing = false; /* whoever asked for it is gone */
    } else if (harness->is_renewing) {
        take_renewed(agent);
    } else {
        reply_ready(agent);
    }
}

/* True if the frame was passed on whole. */
static bool pass_held(struct agent *agent) {
    struct harness *harness = &agent->harness;
    struct frame *frame = &harness->held;
    while (harness->held_done < frame->length) {
        size_t left = frame->length - harness->held_done;
        const uint8_t *at = frame->payload + harness->held_done;
        size_t done = frame->type == FRAME_RESULT ? result_put(agent, harness->process, at, left)
                                                  : output_put(agent, harness->process, frame->type, at, left);
        if (done == 0) {
            return false;
        }
        harness->held_done += done;
    }
    frame->length = 0;
    harness->held_done = 0;
    return true;
}

static bool is_output(uint8_t type) {
    return type == FRAME_STDOUT || type == FRAME_STDERR;
}

/* The program is over, and the interpreter only has to be put away: the host need not wait for that. */
static bool take_exit(struct agent *agent, const struct frame *frame) {
    struct harness *harness = &agent->harness;
    struct process *process = harness->process;
    struct message message;
    uint64_t code = CODE_MOST + 1;
    if (!message_read((struct bytes){frame->payload, frame->length}, &message) ||
        !message_integer(&message, TAG_CODE, &code) || code > CODE_MOST) {
        return false;
    }
    close_channel(harness);
    if (process->pid == 0) {
        return true; /* it went its own way to its end, and was faster */
    }
    struct usage used = usage_running(process->pid, &process->group);
    if (agent->options->init) {
        /* Elsewhere the host sees for itself, and each look costs a function some of its time. */
        used.peak_bytes = usage_peak_running(process->pid, &process->group);
    }
    harness->leaving = process->pid;
    harness->left = process->group;
    process->group.fd = -1;
    process_ended(process, (int)code << 8, &used); /* a status as wait(2) gives it */
    return true;
}

void harness_put_away(struct harness *harness) {
    if (harness->leaving > 0) {
        /* Not reaped yet: the number is still its own. */
        cgroup_kill(&harness->left);
        kill(-harness->leaving, SIGKILL);
        kill(harness->leaving, SIGKILL);
        harness->leaving = 0;
    }
}

/* False if the harness may not say this now. */
static bool take_frame(struct agent *agent, const struct frame *frame) {
    struct harness *harness = &agent->harness;
    enum harness_stage stage = harness->stage;
    if (frame->type == FRAME_READY && stage == HARNESS_BOOTING && frame->length <= HARNESS_READY_MOST) {
        take_ready(agent, frame);
    } else if (frame->type == FRAME_RENEWED && stage == HARNESS_RENEWING) {
        take_renewed(agent);
    } else if (frame->type == FRAME_STARTED && stage == HARNESS_STARTING) {
        harness->stage = HARNESS_RUNNING;
        process_began(agent, harness->process);
    } else if ((frame->type == FRAME_RESULT || is_output(frame->type)) && stage == HARNESS_RUNNING) {
        harness->held = *frame;
    } else if (frame->type == FRAME_EXCEPTION && stage == HARNESS_RUNNING && !harness->has_exception) {
        outbox_put(&agent->outbox, FRAME_EXCEPTION, harness->process->stream, frame->payload, frame->length);
        harness->has_exception = true;
    } else if (frame->type == FRAME_EXIT && stage == HARNESS_RUNNING) {
        return take_exit(agent, frame);
    } else {
        return false;
    }
    return true;
}

bool harness_continue(struct agent *agent) {
    struct harness *harness = &agent->harness;
    while (harness->channel >= 0) {
        if (!pass_held(agent) || outbox_room(&agent->outbox) < HARNESS_PAYLOAD_MOST + REPLY_ROOM) {
            return false;
        }
        struct frame frame;
        enum frame_status status = frame_next(&harness->inbox, &frame);
        if (status == FRAME_NONE) {
            return true;
        }
        if (status != FRAME_COMPLETE || !take_frame(agent, &frame)) {
            refuse(agent, "the harness channel carries what it must not");
        }
    }
    return true;
}

/* True if something was read. */
static bool read_channel(struct harness *harness) {
    uint8_t *at;
    size_t space = frame_space(&harness->inbox, &at);
    ssize_t count = read(harness->channel, at, space);
    if (count > 0) {
        frame_received(&harness->inbox, (size_t)count);
    } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
        if (harness->stage < HARNESS_STARTING) {
            process_kill(harness->process); /* deaf before its START, it is of no use */
        }
        close_channel(harness);
    }
    return count > 0;
}

void harness_receive(struct agent *agent) {
    if (harness_continue(agent) && agent->harness.channel >= 0 && read_channel(&agent->harness)) {
        harness_continue(agent);
    }
}

bool harness_drain(struct agent *agent, struct process *process) {
    struct harness *harness = &agent->harness;
    if (harness->process != process) {
        return true;
    }
    do {
        if (!harness_continue(agent)) {
            return false;
        }
    } while (harness->channel >= 0 && read_channel(harness));
    harness_abandon(harness);
    return true;
}

void harness_abandon(struct harness *harness) {
    close_channel(harness);
    harness->process = NULL;
}

bool harness_died(struct agent *agent, int status) {
    struct process *process = agent->harness.process;
    if (agent->harness.is_renewing && WIFEXITED(status) && WEXITSTATUS(status) == HARNESS_START_ANEW) {
        harness_abandon(&agent->harness);
        process_release(agent, process);
        return harness_start(agent);
    }
    uint8_t errors[REPLY_MOST / 2];
    ssize_t count = read(process->errors, errors, sizeof errors);
    char what[64];
    if (WIFSIGNALED(status)) {
        snprintf(what, sizeof what, "the harness ended by signal %d", WTERMSIG(status));
    } else {
        snprintf(what, sizeof what, "the harness ended with code %d", WEXITSTATUS(status));
    }
    reply_error_trace(agent, 0, "spawn", what, (struct bytes){errors, count > 0 ? (size_t)count : 0});
    harness_abandon(&agent->harness);
    process_release(agent, process);
    return false;
}
