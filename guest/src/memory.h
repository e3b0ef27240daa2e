/* Ends programs that hold more memory than they may. The kernel alone does that only once nothing is left to throw away:
   a program that grows slowly would first have what it executes thrown away and read again, over and over. */
#ifndef CAISSON_MEMORY_H
#define CAISSON_MEMORY_H

#include "agent.h"

/* Looks at every running program, if it is time to; how many milliseconds until the next look, -1 if there is none. */
int memory_watch(struct agent *agent);

#endif
