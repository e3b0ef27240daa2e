#include "frame.h"

#include <string.h>

#include "bytes.h"

size_t frame_space(struct frame_reader *reader, uint8_t **at) {
    if (reader->start > 0) {
        memmove(reader->buffer, reader->buffer + reader->start, reader->end - reader->start);
        reader->end -= reader->start;
        reader->start = 0;
    }
    *at = reader->buffer + reader->end;
    return reader->capacity - reader->end;
}

void frame_received(struct frame_reader *reader, size_t count) {
    reader->end += count;
}

enum frame_status frame_next(struct frame_reader *reader, struct frame *frame) {
    size_t available = reader->end - reader->start;
    if (available < HEADER_BYTES) {
        return FRAME_NONE;
    }
    const uint8_t *header = reader->buffer + reader->start;
    uint32_t length = load_u32(header);
    if (length > reader->capacity - HEADER_BYTES) {
        return FRAME_TOO_LONG;
    }
    if (!reader->accepts(header[4])) {
        return FRAME_BAD_TYPE;
    }
    if (available - HEADER_BYTES < length) {
        return FRAME_NONE;
    }
    frame->type = header[4];
    frame->stream = load_u32(header + 5);
    frame->length = length;
    frame->payload = header + HEADER_BYTES;
    reader->start += HEADER_BYTES + length;
    return FRAME_COMPLETE;
}

void frame_reset(struct frame_reader *reader) {
    reader->start = 0;
    reader->end = 0;
}

void frame_write_header(uint8_t *at, uint8_t type, uint32_t stream, uint32_t length) {
    store_u32(at, length);
    at[4] = type;
    store_u32(at + 5, stream);
}

bool frame_from_host(uint8_t type) {
    return (type >= FRAME_FILE && type <= FRAME_INPUT) || (type >= FRAME_PING && type <= FRAME_CREDIT);
}

bool frame_from_harness(uint8_t type) {
    return (type >= FRAME_READY && type <= FRAME_STARTED) || (type >= FRAME_STDOUT && type <= FRAME_EXIT);
}
