/* The network card of a machine that has one. */
#ifndef CAISSON_NETWORK_H
#define CAISSON_NETWORK_H

#include <stdbool.h>

#include "options.h"

/* Reads `ADDRESS/PREFIX,GATEWAY`; false if it is not that. */
bool network_read(struct network *network, const char *text);

/* Gives the card its address, its route and its name server. NULL, or with errno what could not be done. */
const char *network_up(const struct network *network);

#endif
