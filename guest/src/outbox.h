/* Frames on their way out: a buffer of fixed size that is emptied as the reader reads. */
#ifndef CAISSON_OUTBOX_H
#define CAISSON_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

struct outbox {
    uint8_t *buffer;
    size_t capacity;
    size_t start; /* the first byte not written yet; it may lie inside a frame */
    size_t end;
};

/* How many bytes of payload one more frame may have; 0 also if there is no room for its header. */
size_t outbox_room(const struct outbox *outbox);

/* Where the payload of the next frame may be put, as many bytes as outbox_room said; outbox_commit makes it a frame. */
uint8_t *outbox_payload(struct outbox *outbox);
void outbox_commit(struct outbox *outbox, uint8_t type, uint32_t stream, size_t length);

/* A whole frame, for which there must be room. */
void outbox_put(struct outbox *outbox, uint8_t type, uint32_t stream, const void *payload, size_t length);

static inline bool outbox_is_empty(const struct outbox *outbox) {
    return outbox->start == outbox->end;
}

/* Writes what the descriptor takes at once. False if it takes no more, ever. */
bool outbox_flush(struct outbox *outbox, int fd);

void outbox_clear(struct outbox *outbox);

#endif
