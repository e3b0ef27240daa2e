/* Messages: reading the fields of a payload, and writing them. */
#ifndef CAISSON_FIELDS_H
#define CAISSON_FIELDS_H

#include "bytes.h"
#include "protocol.h"

struct field {
    uint8_t tag;
    struct bytes value;
};

enum field_status { FIELD_END, FIELD_NEXT, FIELD_BROKEN };

/* Takes the first field off `rest`. */
enum field_status field_next(struct bytes *rest, struct field *field);

/* A checked payload. Lists (FEATURE, ARGV, ENV, ARG) are read by going through `payload` with field_next. */
struct message {
    struct bytes payload;
    struct bytes values[TAG_COUNT];
};

/* False if the payload ends inside a field, has too many, or has one twice that is no list. */
bool message_read(struct bytes payload, struct message *message);

static inline bool message_has(const struct message *message, enum tag tag) {
    return message->values[tag].at != NULL;
}

/* Leaves `value` alone if the field is absent; false if it is there and is no integer. */
bool message_integer(const struct message *message, enum tag tag, uint64_t *value);

/* Writes fields into a buffer that its owner made large enough: texts are cut to what is left of it. */
struct message_writer {
    uint8_t *buffer;
    size_t capacity;
    size_t length;
};

void message_put(struct message_writer *writer, enum tag tag, const void *value, size_t length);
void message_put_text(struct message_writer *writer, enum tag tag, const char *text);
void message_put_integer(struct message_writer *writer, enum tag tag, uint64_t value);

#endif
