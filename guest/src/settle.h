/* The end of a process, once it was reaped: what it left goes out, then its EXIT, and its place is free. */
#ifndef CAISSON_SETTLE_H
#define CAISSON_SETTLE_H

#include "process.h"

/* Takes a process that has ended as far towards its EXIT as credit, room and its descendants allow. */
void settle_process(struct agent *agent, struct process *process);

/* Ends it, at whatever stage, without another word to the host. */
void settle_silently(struct agent *agent, struct process *process);

#endif
