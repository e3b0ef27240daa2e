/* The byte stream to the host: stdin and stdout, a character device, or a vsock port that is listened on. */
#ifndef CAISSON_TRANSPORT_H
#define CAISSON_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "options.h"

struct transport {
    enum channel channel;
    int listener; /* vsock: waits for the host */
    int input;    /* -1: not connected */
    int output;
};

/* False, with errno, if there is no such channel. */
bool transport_open(struct transport *transport, const struct options *options);

/* Looks for a peer where there is none. True if one has come just now. */
bool transport_connect(struct transport *transport);

/* What to wait for while there is no peer: a descriptor that becomes readable, or, at -1, this many milliseconds. */
int transport_listener(const struct transport *transport);
enum { RECONNECT_MS = 20 };

/* Bytes that arrived, 0 if there are none now, -1 if the peer is gone. */
ssize_t transport_read(struct transport *transport, uint8_t *at, size_t count);

/* The peer is gone. False if no other can come. */
bool transport_lost(struct transport *transport);

#endif
