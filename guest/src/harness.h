/* The harness: an interpreter that was started ahead and waits, joined to the agent by a channel of its own. */
#ifndef CAISSON_HARNESS_H
#define CAISSON_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bytes.h"
#include "cgroup.h"
#include "frame.h"
#include "outbox.h"
#include "protocol.h"

struct agent;
struct process;

enum {
    HARNESS_PAYLOAD_MOST = 64 * 1024, /* of a frame from the harness */
    HARNESS_READY_MOST = 256,         /* of its READY */
    HARNESS_START_ANEW = 75,          /* its exit code if it cannot renew itself otherwise (EX_TEMPFAIL) */
    /* The largest START, and a window of INPUT in frames of one byte. */
    HARNESS_OUTBOX_BYTES = MAX_PAYLOAD + HEADER_BYTES + INPUT_WINDOW * (HEADER_BYTES + 1),
};

enum harness_stage {
    HARNESS_ABSENT,
    HARNESS_BOOTING,
    HARNESS_READY,
    HARNESS_RENEWING,
    HARNESS_STARTING, /* it has START */
    HARNESS_RUNNING,  /* it said STARTED */
    HARNESS_CLOSED,   /* nothing more is read from its channel */
};

struct harness {
    enum harness_stage stage;
    struct process *process;
    int channel; /* -1: closed */
    struct frame_reader inbox;
    struct outbox outbox;
    struct frame held; /* output or a RESULT that was not passed on whole */
    size_t held_done;
    bool has_exception;
    bool is_renewing; /* the host waits for RENEWED */
    uint64_t input_left;  /* INPUT to come */
    uint32_t input_taken; /* INPUT in the outbox, for which the host has no new credit yet */
    pid_t leaving; /* it said EXIT, and is to be killed once the host was told; 0: none */
    struct cgroup left; /* what it leaves, with whatever it began */
    uint8_t nonce[NONCE_BYTES];
    uint8_t ready[HARNESS_READY_MOST];
    uint32_t ready_length;
};

/* Starts the harness of the command line. False, with errno, if that is impossible. */
bool harness_start(struct agent *agent);

/* True if START would be obeyed at once, by a harness or, where none was asked for, by starting a program. */
bool harness_is_ready(const struct harness *harness);

/* Tells a waiting harness to renew itself; its answer becomes ours. */
void harness_renew(struct agent *agent, const uint8_t nonce[NONCE_BYTES], bool rehearses);

/* Passes START on; from here the harness is the process of that stream. `input_size` bytes of INPUT follow. */
void harness_begin(struct agent *agent, struct bytes start, uint64_t input_size);

/* Passes INPUT on. False if that much was not announced. */
bool harness_input(struct agent *agent, const uint8_t *bytes, uint32_t count);

/* Reads from and writes to its channel what is possible now. */
void harness_receive(struct agent *agent);
void harness_send(struct agent *agent);

/* Passes on what was read before and could not be then. False if it still cannot, so that reading on is no use. */
bool harness_continue(struct agent *agent);

/* Deals with what an ended harness left in its channel. False if some is left for later. */
bool harness_drain(struct agent *agent, struct process *process);

/* Has no more to do with its process. */
void harness_abandon(struct harness *harness);

/* Ends one that said EXIT, and all of its process group. */
void harness_put_away(struct harness *harness);

/* It was reaped without ever having had a START. False, and the host is told why as far as its stderr says, unless it
   ended in order to be started anew. */
bool harness_died(struct agent *agent, int status);

#endif
