/* Messages of any bytes: what is accepted is read the same way twice, and lies within the payload. */
#include <stdlib.h>
#include <string.h>

#include "fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(struct bytes payload, const uint8_t *end) {
    size_t bytes = 0;
    struct field field;
    enum field_status status;
    while ((status = field_next(&payload, &field)) == FIELD_NEXT) {
        if (field.value.at + field.value.length > end) {
            abort();
        }
        bytes += FIELD_HEADER_BYTES + field.value.length;
    }
    return status == FIELD_END ? bytes : SIZE_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    /* In memory of its own, so that one byte too far is seen. */
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    struct bytes payload = {copy, size};
    static struct message message;
    size_t walked = walk(payload, copy + size);
    bool accepted = message_read(payload, &message);
    if (accepted && walked != size) {
        abort();
    }
    for (enum tag tag = 0; accepted && tag < TAG_COUNT; tag++) {
        uint64_t number = 1;
        char text[64];
        if (message_integer(&message, tag, &number) && message_has(&message, tag) && message.values[tag].length != 8) {
            abort();
        }
        if (bytes_to_text(message.values[tag], text, sizeof text) && strlen(text) != message.values[tag].length) {
            abort();
        }
    }
    free(copy);
    return 0;
}
