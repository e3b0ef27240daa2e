/* The frame reader on any bytes in any pieces: it stays within its buffer and never loses or invents a byte. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "frame.h"

enum { CAPACITY = HEADER_BYTES + 512 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) {
        return 0;
    }
    size_t most = data[0] + 1u;
    uint8_t *buffer = malloc(CAPACITY);
    struct frame_reader reader = {buffer, CAPACITY, 0, 0, data[1] & 1 ? frame_from_host : frame_from_harness};
    const uint8_t *expected = data + 2;
    enum frame_status status = FRAME_NONE;
    for (size_t offset = 2; offset < size && status == FRAME_NONE;) {
        uint8_t *at;
        size_t count = size - offset < most ? size - offset : most;
        size_t space = frame_space(&reader, &at);
        if (space == 0 || at < buffer || at + space > buffer + CAPACITY) {
            abort();
        }
        count = count < space ? count : space;
        memcpy(at, data + offset, count);
        frame_received(&reader, count);
        offset += count;
        struct frame frame;
        while ((status = frame_next(&reader, &frame)) == FRAME_COMPLETE) {
            if (load_u32(expected) != frame.length || expected[4] != frame.type || load_u32(expected + 5) != frame.stream ||
                memcmp(expected + HEADER_BYTES, frame.payload, frame.length) != 0) {
                abort();
            }
            expected += HEADER_BYTES + frame.length;
        }
    }
    free(buffer);
    return 0;
}
