/* All the agent knows. It lies in one static object: nothing is allocated after the start. */
#ifndef CAISSON_AGENT_H
#define CAISSON_AGENT_H

#include "files.h"
#include "frame.h"
#include "harness.h"
#include "options.h"
#include "outbox.h"
#include "process.h"
#include "transport.h"

enum {
    PROCESSES_MOST = 128,
    REPLY_MOST = 2048,             /* no reply of the agent's own is longer */
    REPLY_ROOM = 4 * REPLY_MOST,   /* no step says more than this */
    OUTBOX_BYTES = 384 * 1024,
    /* What output leaves free in the outbox: no flood of it delays a reply, or a frame of the harness. */
    DATA_RESERVE = 2 * REPLY_ROOM + HARNESS_PAYLOAD_MOST,
};

enum ending { ENDING_NOT_YET, ENDING_ORDERLY, ENDING_FAULT };

struct agent {
    const struct options *options;
    struct transport transport;
    struct frame_reader inbox;
    struct outbox outbox;
    struct work_folder work;
    int cgroups; /* -1: none */
    int signals; /* a signalfd */
    struct harness harness;
    struct process processes[PROCESSES_MOST];
    enum ending ending; /* it ends once the outbox is empty */
};

#endif
