#include "fields.h"

static bool is_list(uint8_t tag) {
    return tag == TAG_FEATURE || tag == TAG_ARGV || tag == TAG_ENV || tag == TAG_ARG;
}

enum field_status field_next(struct bytes *rest, struct field *field) {
    if (rest->length == 0) {
        return FIELD_END;
    }
    if (rest->length < FIELD_HEADER_BYTES) {
        return FIELD_BROKEN;
    }
    uint32_t length = load_u32(rest->at + 1);
    if (length > rest->length - FIELD_HEADER_BYTES) {
        return FIELD_BROKEN;
    }
    field->tag = rest->at[0];
    field->value = (struct bytes){rest->at + FIELD_HEADER_BYTES, length};
    rest->at += FIELD_HEADER_BYTES + length;
    rest->length -= FIELD_HEADER_BYTES + length;
    return FIELD_NEXT;
}

bool message_read(struct bytes payload, struct message *message) {
    memset(message, 0, sizeof *message);
    message->payload = payload;
    struct field field;
    enum field_status status;
    for (unsigned count = 0; (status = field_next(&payload, &field)) == FIELD_NEXT; count++) {
        if (count >= MAX_FIELDS) {
            return false;
        }
        if (field.tag >= TAG_COUNT || is_list(field.tag)) {
            continue;
        }
        if (message->values[field.tag].at != NULL) {
            return false;
        }
        message->values[field.tag] = field.value;
    }
    return status == FIELD_END;
}

bool message_integer(const struct message *message, enum tag tag, uint64_t *value) {
    struct bytes bytes = message->values[tag];
    if (bytes.at == NULL) {
        return true;
    }
    if (bytes.length != sizeof *value) {
        return false;
    }
    *value = load_u64(bytes.at);
    return true;
}

void message_put(struct message_writer *writer, enum tag tag, const void *value, size_t length) {
    size_t left = writer->capacity - writer->length;
    if (left < FIELD_HEADER_BYTES) {
        return;
    }
    if (length > left - FIELD_HEADER_BYTES) {
        length = left - FIELD_HEADER_BYTES;
    }
    uint8_t *at = writer->buffer + writer->length;
    at[0] = (uint8_t)tag;
    store_u32(at + 1, (uint32_t)length);
    if (length > 0) {
        memcpy(at + FIELD_HEADER_BYTES, value, length);
    }
    writer->length += FIELD_HEADER_BYTES + length;
}

void message_put_text(struct message_writer *writer, enum tag tag, const char *text) {
    message_put(writer, tag, text, strlen(text));
}

void message_put_integer(struct message_writer *writer, enum tag tag, uint64_t value) {
    uint8_t bytes[sizeof value];
    store_u64(bytes, value);
    message_put(writer, tag, bytes, sizeof bytes);
}
