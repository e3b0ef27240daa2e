/* The parsers read the shared vectors as every other implementation does, however the bytes arrive. */
#include "fields.h"
#include "frame.h"
#include "testing.h"

struct frame_vector {
    uint8_t type;
    uint32_t stream;
    struct bytes payload;
};

struct stream_vector {
    const char *name;
    bool from_host;
    struct bytes bytes;
    size_t count;
    struct frame_vector frames[8];
    enum frame_status end;
};

struct field_vector {
    uint8_t tag;
    struct bytes value;
};

struct message_vector {
    const char *name;
    struct bytes bytes;
    size_t count;
    struct field_vector fields[32];
};

#include "vectors.h"

static uint8_t buffer[HEADER_BYTES + MAX_PAYLOAD];

static bool frame_from_guest(uint8_t type) {
    return (type >= FRAME_HELLO && type <= FRAME_STARTED) || (type >= FRAME_STDOUT && type <= FRAME_EXIT) ||
           type == FRAME_ERROR || (type >= FRAME_PING && type <= FRAME_CREDIT);
}

static bool same(struct bytes expected, const uint8_t *at, size_t length) {
    return expected.length == length && (length == 0 || memcmp(expected.at, at, length) == 0);
}

/* Feeds the bytes in pieces of this size, each in memory of its own so that a read beyond it is seen. */
static void read_stream(const struct stream_vector *vector, size_t piece) {
    struct frame_reader reader = {buffer, sizeof buffer, 0, 0, vector->from_host ? frame_from_host : frame_from_guest};
    size_t seen = 0;
    enum frame_status status = FRAME_NONE;
    for (size_t offset = 0; offset < vector->bytes.length && status == FRAME_NONE; offset += piece) {
        uint8_t *at;
        size_t left = vector->bytes.length - offset;
        size_t count = left < piece ? left : piece;
        CHECK(frame_space(&reader, &at) >= count);
        memcpy(at, vector->bytes.at + offset, count);
        frame_received(&reader, count);
        struct frame frame;
        while ((status = frame_next(&reader, &frame)) == FRAME_COMPLETE) {
            if (vector->end != FRAME_NONE) {
                continue; /* that it is refused is all such a vector says */
            }
            CHECK(seen < vector->count);
            const struct frame_vector *expected = &vector->frames[seen++];
            CHECK(frame.type == expected->type && frame.stream == expected->stream);
            CHECK(same(expected->payload, frame.payload, frame.length));
        }
    }
    CHECK(seen == vector->count);
    CHECK(status == vector->end);
}

static void test_streams(void) {
    for (size_t i = 0; i < COUNT_OF(stream_vectors); i++) {
        const size_t pieces[] = {1, 2, 7, 4096, sizeof buffer};
        for (size_t j = 0; j < COUNT_OF(pieces); j++) {
            read_stream(&stream_vectors[i], pieces[j]);
        }
    }
}

static void test_messages(void) {
    for (size_t i = 0; i < COUNT_OF(message_vectors); i++) {
        const struct message_vector *vector = &message_vectors[i];
        struct message message;
        CHECK(message_read(vector->bytes, &message));
        struct bytes rest = vector->bytes;
        struct field field;
        for (size_t j = 0; j < vector->count; j++) {
            CHECK(field_next(&rest, &field) == FIELD_NEXT);
            CHECK(field.tag == vector->fields[j].tag);
            CHECK(same(vector->fields[j].value, field.value.at, field.value.length));
        }
        CHECK(field_next(&rest, &field) == FIELD_END);
    }
}

static void test_malformed_messages(void) {
    for (size_t i = 0; i < COUNT_OF(malformed_vectors); i++) {
        struct message message;
        CHECK(!message_read(malformed_vectors[i].bytes, &message));
    }
}

static void test_too_many_fields(void) {
    size_t length = (MAX_FIELDS + 1) * FIELD_HEADER_BYTES;
    uint8_t *many = calloc(1, length);
    CHECK(many != NULL);
    for (size_t i = 0; i <= MAX_FIELDS; i++) {
        many[i * FIELD_HEADER_BYTES] = TAG_ENV;
    }
    struct message message;
    CHECK(message_read((struct bytes){many, length - FIELD_HEADER_BYTES}, &message));
    CHECK(!message_read((struct bytes){many, length}, &message));
    free(many);
}

static void test_what_is_written_is_read(void) {
    uint8_t written[64];
    struct message_writer writer = {.buffer = written, .capacity = sizeof written};
    message_put_integer(&writer, TAG_SIZE, 0x0102030405060708);
    message_put_text(&writer, TAG_MESSAGE, "text");
    message_put(&writer, TAG_TRACE, written, 0);
    /* What does not fit is cut, and what has no room for its header is left out. */
    message_put_text(&writer, TAG_KIND, "a text that is far too long to fit into what is left of the buffer");
    message_put_text(&writer, TAG_PATH, "no room");
    struct message message;
    uint64_t size = 0;
    CHECK(writer.length == sizeof written);
    CHECK(message_read((struct bytes){written, writer.length}, &message));
    CHECK(message_integer(&message, TAG_SIZE, &size) && size == 0x0102030405060708);
    CHECK(!message_integer(&message, TAG_MESSAGE, &size));
    CHECK(message_integer(&message, TAG_MODE, &size) && size == 0x0102030405060708);
    CHECK(same(message.values[TAG_MESSAGE], (const uint8_t *)"text", 4));
    CHECK(message_has(&message, TAG_TRACE) && message_has(&message, TAG_KIND) && !message_has(&message, TAG_PATH));
}

static void test_texts(void) {
    char text[4];
    CHECK(bytes_to_text((struct bytes){(const uint8_t *)"abc", 3}, text, sizeof text) && strcmp(text, "abc") == 0);
    CHECK(!bytes_to_text((struct bytes){(const uint8_t *)"abcd", 4}, text, sizeof text));
    CHECK(!bytes_to_text((struct bytes){(const uint8_t *)"a\0b", 3}, text, sizeof text));
    CHECK(bytes_to_text((struct bytes){NULL, 0}, text, sizeof text) && text[0] == '\0');
}

int main(void) {
    test_streams();
    test_messages();
    test_malformed_messages();
    test_too_many_fields();
    test_what_is_written_is_read();
    test_texts();
    return 0;
}
