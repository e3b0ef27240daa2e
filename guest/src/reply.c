#include "reply.h"

#include <stdio.h>
#include <string.h>

#include "fields.h"

bool reply_possible(const struct agent *agent) {
    return outbox_room(&agent->outbox) >= REPLY_ROOM;
}

static void send_message(struct agent *agent, uint8_t type, uint32_t stream, const struct message_writer *writer) {
    outbox_put(&agent->outbox, type, stream, writer->buffer, writer->length);
}

void reply_hello(struct agent *agent) {
    uint8_t buffer[64];
    struct message_writer writer = {.buffer = buffer, .capacity = sizeof buffer};
    message_put_integer(&writer, TAG_VERSION, PROTOCOL_VERSION);
    message_put(&writer, TAG_NONCE, agent->options->nonce, NONCE_BYTES);
    message_put_text(&writer, TAG_FEATURE, "credit");
    send_message(agent, FRAME_HELLO, 0, &writer);
}

void reply_ready(struct agent *agent) {
    outbox_put(&agent->outbox, FRAME_READY, 0, agent->harness.ready, agent->harness.ready_length);
}

void reply_renewed(struct agent *agent, const uint8_t nonce[NONCE_BYTES]) {
    uint8_t buffer[FIELD_HEADER_BYTES + NONCE_BYTES];
    struct message_writer writer = {.buffer = buffer, .capacity = sizeof buffer};
    message_put(&writer, TAG_NONCE, nonce, NONCE_BYTES);
    send_message(agent, FRAME_RENEWED, 0, &writer);
}

void reply_credit(struct agent *agent, uint32_t stream, uint64_t count) {
    uint8_t buffer[16];
    struct message_writer writer = {.buffer = buffer, .capacity = sizeof buffer};
    message_put_integer(&writer, TAG_SIZE, count);
    send_message(agent, FRAME_CREDIT, stream, &writer);
}

void reply_error_trace(struct agent *agent, uint32_t stream, const char *kind, const char *what, struct bytes trace) {
    uint8_t buffer[REPLY_MOST];
    struct message_writer writer = {.buffer = buffer, .capacity = sizeof buffer};
    message_put_text(&writer, TAG_KIND, kind);
    message_put_text(&writer, TAG_MESSAGE, what);
    if (trace.at != NULL) {
        message_put(&writer, TAG_TRACE, trace.at, trace.length);
    }
    send_message(agent, FRAME_ERROR, stream, &writer);
}

void reply_error(struct agent *agent, uint32_t stream, const char *kind, const char *what, int error) {
    char text[1024];
    if (error == 0) {
        snprintf(text, sizeof text, "%s", what);
    } else {
        snprintf(text, sizeof text, "%.800s: %s", what, strerror(error));
    }
    reply_error_trace(agent, stream, kind, text, (struct bytes){NULL, 0});
}
