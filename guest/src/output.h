/* What goes out of a process: its standard output and error, and its result. */
#ifndef CAISSON_OUTPUT_H
#define CAISSON_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "process.h"

/* How many bytes of output may be sent for it now: 0 without credit or room. */
size_t output_allowed(const struct agent *agent, const struct process *process);

/* Sends what one of its two pipes holds, as far as that is allowed, once; a pipe at its end is closed. */
void output_pump(struct agent *agent, struct process *process, int *pipe, uint8_t type);

/* Sends what the pipes of an ended process still hold. False if some is left for later. */
bool output_drain(struct agent *agent, struct process *process);

/* Sends bytes that are its output but came another way; how many. */
size_t output_put(struct agent *agent, struct process *process, uint8_t type, const uint8_t *bytes, size_t count);

/* Sends bytes of its result, at most as many as allowed; how many were dealt with. */
size_t result_put(struct agent *agent, struct process *process, const uint8_t *bytes, size_t count);

/* Looks at the file it may have left as its result. */
void result_open(struct agent *agent, struct process *process);

/* Sends what that file holds. False if some is left for later. */
bool result_send(struct agent *agent, struct process *process);

#endif
