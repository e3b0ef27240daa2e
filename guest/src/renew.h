/* RENEW: a copy of a machine becomes one of its own. */
#ifndef CAISSON_RENEW_H
#define CAISSON_RENEW_H

#include <stdbool.h>

#include "agent.h"
#include "bytes.h"

/* False if the host broke the protocol. A step that fails is an ERROR, and RENEWED never comes. */
bool renew(struct agent *agent, struct bytes payload);

#endif
