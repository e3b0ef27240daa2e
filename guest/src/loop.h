/* The loop: waits until something is possible, and does it. Nothing in it blocks but the disk. */
#ifndef CAISSON_LOOP_H
#define CAISSON_LOOP_H

#include "agent.h"

/* Returns when the sandbox has come to its end. */
void loop_run(struct agent *agent);

#endif
