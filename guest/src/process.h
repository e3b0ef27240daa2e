/* A process of the host's, from its first file to its EXIT. */
#ifndef CAISSON_PROCESS_H
#define CAISSON_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cgroup.h"
#include "files.h"
#include "ring.h"
#include "spawn.h"
#include "usage.h"

struct agent;

enum stage {
    STAGE_FREE,
    STAGE_FILES,    /* its files arrive */
    STAGE_REFUSED,  /* one of them failed: what comes is swallowed, up to its START */
    STAGE_WAITING,  /* the harness, which has no stream yet */
    STAGE_STARTING, /* it exists, and has not begun */
    STAGE_RUNNING,
    STAGE_DEAD,   /* reaped; its descendants may live, its pipes may hold output */
    STAGE_RESULT, /* all output is out; its result file is being read */
    STAGE_SILENT, /* the host hears no more of it; it must be reaped */
};

struct process {
    enum stage stage;
    uint32_t stream;

    int file; /* being written, or -1 */
    uint64_t file_left;
    char file_path[PATH_CAPACITY];

    pid_t pid; /* 0: none, or reaped */
    struct cgroup group;
    int report;
    bool started; /* STARTED was sent */

    int input;
    struct ring pending_input;
    bool input_ends;       /* the host sent all of it */
    uint32_t input_window; /* what the host may still send */
    uint32_t input_taken;  /* what left us since the last CREDIT */

    int output;
    int errors;
    uint64_t credit; /* what we may still send */

    char result_path[PATH_CAPACITY]; /* "": none */
    int result;
    uint64_t result_left;  /* to be read from the file */
    uint64_t result_limit; /* what may still be sent */
    enum { RESULT_NONE, RESULT_BEGUN, RESULT_REFUSED } result_state;

    bool starved;        /* it was killed because it held too much memory */
    struct usage before; /* what a harness had used before its START */
    struct usage used;
    int status;
};

/* The process of a stream, or NULL. */
struct process *process_find(struct agent *agent, uint32_t stream);

/* A free place for it, or NULL. */
struct process *process_claim(struct agent *agent, uint32_t stream, enum stage stage);

/* Takes over what `spawn` made. */
void process_attach(struct process *process, const struct spawned *spawned, enum stage stage);

/* Reads from its report pipe whether it is a program now, and tells the host. */
void process_read_report(struct agent *agent, struct process *process);

/* Tells the host that user code begins. */
void process_began(struct agent *agent, struct process *process);

void process_signal(const struct process *process, int number);

/* Kills it and all its descendants. */
void process_kill(const struct process *process);

/* It was reaped. */
void process_ended(struct process *process, int status, const struct usage *used);

/* Frees its place. */
void process_release(struct agent *agent, struct process *process);

#endif
