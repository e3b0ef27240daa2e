/* START: from the message to a process, or to the waiting harness. */
#ifndef CAISSON_START_H
#define CAISSON_START_H

#include <stdbool.h>

#include "agent.h"

/* False if the host broke the protocol. */
bool start(struct agent *agent, const struct frame *frame);

/* Has the memory that it takes. */
void start_touch(void);

#endif
