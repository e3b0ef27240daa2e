/* What the agent does for a program, done once for none. */
#ifndef CAISSON_REHEARSE_H
#define CAISSON_REHEARSE_H

#include "agent.h"

/* Where a machine is emulated, whatever it does for the first time costs it several times as long. */
void rehearse(struct agent *agent);

#endif
