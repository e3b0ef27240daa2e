#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "dispatch.h"
#include "input.h"
#include "memory.h"
#include "output.h"
#include "reap.h"
#include "reply.h"
#include "settle.h"
#include "touch.h"

/* What to wait for is worked out anew each time from what is wanted now; there is no second record that could disagree
   with the first. */
struct watch {
    struct process *process;
    void (*act)(struct agent *agent, struct process *process);
};

enum { WATCHES_MOST = 8 + 4 * PROCESSES_MOST };
static struct pollfd polled[WATCHES_MOST];
static struct watch watches[WATCHES_MOST];
static nfds_t watch_count;

static void watch(int fd, short events, struct process *process, void (*act)(struct agent *, struct process *)) {
    polled[watch_count] = (struct pollfd){.fd = fd, .events = events};
    watches[watch_count] = (struct watch){process, act};
    watch_count++;
}

static void on_signal(struct agent *agent, struct process *process) {
    (void)process;
    struct signalfd_siginfo info;
    while (read(agent->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGCHLD) {
            agent->ending = ENDING_ORDERLY;
        }
    }
    reap(agent);
}

static void on_peer(struct agent *agent, struct process *process) {
    (void)process;
    if (!transport_connect(&agent->transport)) {
        return;
    }
    frame_reset(&agent->inbox);
    outbox_clear(&agent->outbox);
    reply_hello(agent);
    if (harness_is_ready(&agent->harness)) {
        reply_ready(agent);
    }
}

static void lose_peer(struct agent *agent) {
    if (!transport_lost(&agent->transport)) {
        agent->ending = ENDING_ORDERLY;
        return;
    }
    outbox_clear(&agent->outbox);
    for (struct process *process = agent->processes; process < agent->processes + PROCESSES_MOST; process++) {
        if (process->stage != STAGE_FREE && process->stage != STAGE_WAITING) {
            settle_silently(agent, process);
        }
    }
}

static void on_bytes(struct agent *agent, struct process *process) {
    (void)process;
    uint8_t *at;
    size_t space = frame_space(&agent->inbox, &at);
    ssize_t count = transport_read(&agent->transport, at, space);
    if (count < 0) {
        lose_peer(agent);
    } else {
        frame_received(&agent->inbox, (size_t)count);
    }
}

static void on_writable(struct agent *agent, struct process *process) {
    (void)agent;
    (void)process; /* the outbox is flushed at the end of every turn */
}

static void on_report(struct agent *agent, struct process *process) {
    process_read_report(agent, process);
}

static void on_stdin(struct agent *agent, struct process *process) {
    (void)agent;
    input_pump(process);
}

static void on_stdout(struct agent *agent, struct process *process) {
    output_pump(agent, process, &process->output, FRAME_STDOUT);
}

static void on_stderr(struct agent *agent, struct process *process) {
    output_pump(agent, process, &process->errors, FRAME_STDERR);
}

static void on_harness(struct agent *agent, struct process *process) {
    (void)process;
    harness_receive(agent);
    harness_send(agent);
}

static void watch_peer(struct agent *agent) {
    const struct transport *transport = &agent->transport;
    if (transport->input < 0) {
        if (transport_listener(transport) >= 0) {
            watch(transport_listener(transport), POLLIN, NULL, on_peer);
        }
        return;
    }
    if (agent->ending == ENDING_NOT_YET && reply_possible(agent)) {
        watch(transport->input, POLLIN, NULL, on_bytes);
    }
    if (!outbox_is_empty(&agent->outbox)) {
        watch(transport->output, POLLOUT, NULL, on_writable);
    }
}

static void watch_harness(struct agent *agent) {
    struct harness *harness = &agent->harness;
    if (harness->channel < 0) {
        return;
    }
    bool reads = harness_continue(agent), writes = !outbox_is_empty(&harness->outbox);
    if (harness->channel >= 0 && (reads || writes)) {
        watch(harness->channel, (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0)), NULL, on_harness);
    }
}

static void watch_process(struct agent *agent, struct process *process) {
    if (process->report >= 0 && reply_possible(agent)) {
        watch(process->report, POLLIN, process, on_report);
    }
    if (process->input >= 0 && process->pending_input.length > 0) {
        watch(process->input, POLLOUT, process, on_stdin);
    }
    if (process->stage < STAGE_STARTING || process->stage == STAGE_SILENT || output_allowed(agent, process) == 0) {
        return;
    }
    if (process->output >= 0) {
        watch(process->output, POLLIN, process, on_stdout);
    }
    if (process->errors >= 0) {
        watch(process->errors, POLLIN, process, on_stderr);
    }
}

/* Each turn begins with another process, so that none can take all the room for itself. */
static void watch_processes(struct agent *agent) {
    static unsigned turn;
    turn++;
    for (unsigned i = 0; i < PROCESSES_MOST; i++) {
        struct process *process = &agent->processes[(turn + i) % PROCESSES_MOST];
        if (process->stage != STAGE_FREE) {
            watch_process(agent, process);
        }
    }
}

static void wait_and_act(struct agent *agent) {
    watch_count = 0;
    watch(agent->signals, POLLIN, NULL, on_signal);
    watch_harness(agent);
    watch_peer(agent);
    watch_processes(agent);
    bool must_look = agent->transport.input < 0 && transport_listener(&agent->transport) < 0;
    if (poll(polled, watch_count, must_look ? RECONNECT_MS : memory_watch(agent)) < 0) {
        return;
    }
    if (must_look) {
        on_peer(agent, NULL);
    }
    for (nfds_t i = 0; i < watch_count; i++) {
        if (polled[i].revents != 0) {
            watches[i].act(agent, watches[i].process);
        }
    }
}

static void break_off(struct agent *agent, const char *why) {
    reply_error(agent, 0, "protocol", why, 0);
    agent->ending = ENDING_FAULT;
}

static void obey(struct agent *agent) {
    struct frame frame;
    while (agent->ending == ENDING_NOT_YET && agent->transport.input >= 0 && reply_possible(agent)) {
        switch (frame_next(&agent->inbox, &frame)) {
        case FRAME_NONE:
            return;
        case FRAME_TOO_LONG:
            break_off(agent, "a frame is longer than allowed");
            break;
        case FRAME_BAD_TYPE:
            break_off(agent, "a frame is of a type no host sends");
            break;
        case FRAME_COMPLETE:
            if (!dispatch(agent, &frame)) {
                break_off(agent, "a message is malformed, or not allowed now");
            }
            break;
        }
    }
}

static void settle(struct agent *agent) {
    for (struct process *process = agent->processes; process < agent->processes + PROCESSES_MOST; process++) {
        if (process->stage == STAGE_STARTING || process->stage == STAGE_RUNNING) {
            input_grant(agent, process);
        } else if (process->stage >= STAGE_DEAD) {
            settle_process(agent, process);
        }
    }
}

static bool has_ended(const struct agent *agent) {
    bool can_write = agent->transport.output >= 0 && !outbox_is_empty(&agent->outbox);
    return agent->ending == ENDING_ORDERLY || (agent->ending == ENDING_FAULT && !can_write);
}

void loop_run(struct agent *agent) {
    if (agent->transport.channel == CHANNEL_STDIO) {
        on_peer(agent, NULL);
    }
    bool touched = false;
    while (!has_ended(agent)) {
        if (!touched && harness_is_ready(&agent->harness) && outbox_is_empty(&agent->outbox)) {
            touch(agent);
            touched = true;
        }
        wait_and_act(agent);
        obey(agent);
        settle(agent);
        if (agent->transport.output >= 0 && !outbox_flush(&agent->outbox, agent->transport.output)) {
            lose_peer(agent);
        }
        harness_put_away(&agent->harness);
    }
}
