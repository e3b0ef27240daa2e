/* What the agent itself has to say to the host. */
#ifndef CAISSON_REPLY_H
#define CAISSON_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "agent.h"
#include "bytes.h"

/* True if there is room for what one step may say; to be asked before anything that may have to be answered. */
bool reply_possible(const struct agent *agent);

void reply_hello(struct agent *agent);
void reply_ready(struct agent *agent);
void reply_renewed(struct agent *agent, const uint8_t nonce[NONCE_BYTES]);
void reply_credit(struct agent *agent, uint32_t stream, uint64_t count);

/* `what` and the text of `error`, or only `what` if that is 0. The trace may be absent. */
void reply_error(struct agent *agent, uint32_t stream, const char *kind, const char *what, int error);
void reply_error_trace(struct agent *agent, uint32_t stream, const char *kind, const char *what, struct bytes trace);

#endif
