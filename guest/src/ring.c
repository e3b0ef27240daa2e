#include "ring.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

bool ring_put(struct ring *ring, const uint8_t *bytes, size_t count) {
    if (count > sizeof ring->buffer - ring->length) {
        return false;
    }
    size_t end = (ring->start + ring->length) % sizeof ring->buffer;
    size_t before_wrap = sizeof ring->buffer - end;
    size_t first = count < before_wrap ? count : before_wrap;
    if (count > 0) {
        memcpy(ring->buffer + end, bytes, first);
        memcpy(ring->buffer, bytes + first, count - first);
    }
    ring->length += count;
    return true;
}

size_t ring_flush(struct ring *ring, int fd, bool *broken) {
    size_t left = 0;
    *broken = false;
    while (ring->length > 0) {
        size_t before_wrap = sizeof ring->buffer - ring->start;
        size_t count = ring->length < before_wrap ? ring->length : before_wrap;
        ssize_t written = write(fd, ring->buffer + ring->start, count);
        if (written < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                *broken = true;
                left += ring->length;
                ring_clear(ring);
            }
            return left;
        }
        ring->start = (ring->start + (size_t)written) % sizeof ring->buffer;
        ring->length -= (size_t)written;
        left += (size_t)written;
    }
    return left;
}

void ring_clear(struct ring *ring) {
    ring->start = 0;
    ring->length = 0;
}
