/* Frames: taking them out of a stream of bytes, and writing their headers. */
#ifndef CAISSON_FRAME_H
#define CAISSON_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

struct frame {
    uint8_t type;
    uint32_t stream;
    uint32_t length;
    const uint8_t *payload; /* inside the reader's buffer: good until the next call of frame_space */
};

struct frame_reader {
    uint8_t *buffer; /* holds the largest frame allowed, header included */
    size_t capacity;
    size_t start; /* the first byte that is not part of a frame handed out */
    size_t end;
    bool (*accepts)(uint8_t type);
};

enum frame_status { FRAME_NONE, FRAME_COMPLETE, FRAME_TOO_LONG, FRAME_BAD_TYPE };

/* Where the next bytes of the stream go and how many fit: at least one, as long as frame_next was called until it
   returned FRAME_NONE. */
size_t frame_space(struct frame_reader *reader, uint8_t **at);
void frame_received(struct frame_reader *reader, size_t count);

/* The next frame. A length that cannot be held and a type that is not accepted are found from the header alone, and
   are found again at every further call. */
enum frame_status frame_next(struct frame_reader *reader, struct frame *frame);

/* Forgets what was read: a new stream begins. */
void frame_reset(struct frame_reader *reader);

void frame_write_header(uint8_t *at, uint8_t type, uint32_t stream, uint32_t length);

bool frame_from_host(uint8_t type);
bool frame_from_harness(uint8_t type);

#endif
