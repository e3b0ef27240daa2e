/* What the host says, frame by frame. */
#ifndef CAISSON_DISPATCH_H
#define CAISSON_DISPATCH_H

#include <stdbool.h>

#include "agent.h"

/* Obeys one frame, for whose answer there is room. False if the host broke the protocol. */
bool dispatch(struct agent *agent, const struct frame *frame);

#endif
