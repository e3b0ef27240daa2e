/* The dead, whoever's they are: the agent is the parent of all that have lost theirs. */
#ifndef CAISSON_REAP_H
#define CAISSON_REAP_H

#include "agent.h"

/* Takes note of every child that has ended. */
void reap(struct agent *agent);

/* Kills everything that runs below the agent, and returns when it is gone. */
void reap_everything(struct agent *agent);

#endif
