/* A bounded queue of bytes for one reader: what the host sent to a program's standard input and it has not read yet. */
#ifndef CAISSON_RING_H
#define CAISSON_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

struct ring {
    uint8_t buffer[INPUT_WINDOW];
    size_t start;
    size_t length;
};

/* False if they do not fit. */
bool ring_put(struct ring *ring, const uint8_t *bytes, size_t count);

/* Writes what the descriptor takes at once; the number of bytes that left. `broken` tells that nobody will ever read
   the rest, which is gone then too. */
size_t ring_flush(struct ring *ring, int fd, bool *broken);

void ring_clear(struct ring *ring);

#endif
