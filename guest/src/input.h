/* What goes into a process through its standard input, and the credit the host gets for it. */
#ifndef CAISSON_INPUT_H
#define CAISSON_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "process.h"

/* Bytes for its standard input, or its end if there are none. False if the host had no credit for them, or said the end
   before. */
bool input_put(struct process *process, const uint8_t *bytes, uint32_t count);

/* Hands on what its pipe takes, and closes it at the end. */
void input_pump(struct process *process);

/* Gives the host credit for what left us, once that is worth a frame. */
void input_grant(struct agent *agent, struct process *process);

#endif
