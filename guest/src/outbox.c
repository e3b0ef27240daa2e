#include "outbox.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

size_t outbox_room(const struct outbox *outbox) {
    size_t room = outbox->capacity - (outbox->end - outbox->start);
    return room > HEADER_BYTES ? room - HEADER_BYTES : 0;
}

uint8_t *outbox_payload(struct outbox *outbox) {
    if (outbox->start > 0) {
        memmove(outbox->buffer, outbox->buffer + outbox->start, outbox->end - outbox->start);
        outbox->end -= outbox->start;
        outbox->start = 0;
    }
    return outbox->buffer + outbox->end + HEADER_BYTES;
}

void outbox_commit(struct outbox *outbox, uint8_t type, uint32_t stream, size_t length) {
    frame_write_header(outbox->buffer + outbox->end, type, stream, (uint32_t)length);
    outbox->end += HEADER_BYTES + length;
}

void outbox_put(struct outbox *outbox, uint8_t type, uint32_t stream, const void *payload, size_t length) {
    uint8_t *at = outbox_payload(outbox);
    if (length > 0) {
        memcpy(at, payload, length);
    }
    outbox_commit(outbox, type, stream, length);
}

bool outbox_flush(struct outbox *outbox, int fd) {
    while (outbox->start < outbox->end) {
        ssize_t count = write(fd, outbox->buffer + outbox->start, outbox->end - outbox->start);
        if (count < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        outbox->start += (size_t)count;
    }
    outbox_clear(outbox);
    return true;
}

void outbox_clear(struct outbox *outbox) {
    outbox->start = 0;
    outbox->end = 0;
}
