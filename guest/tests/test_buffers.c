/* The two queues keep every byte in order, whatever sizes go in and out, and never more than they hold. */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "bytes.h"
#include "outbox.h"
#include "ring.h"
#include "testing.h"

static struct ring ring;

static void make_pipe(int ends[2]) {
    CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
}

static void test_ring_wraps(void) {
    int ends[2];
    make_pipe(ends);
    uint8_t next_in = 0, next_out = 0, piece[9001], seen[9001];
    size_t inside = 0;
    for (unsigned turn = 0; turn < 400; turn++) {
        size_t count = turn * 7919 % sizeof piece;
        for (size_t i = 0; i < count; i++) {
            piece[i] = (uint8_t)(next_in + i);
        }
        bool fits = count <= sizeof ring.buffer - ring.length;
        CHECK(ring_put(&ring, piece, count) == fits);
        next_in = (uint8_t)(next_in + (fits ? count : 0));
        inside += fits ? count : 0;
        bool broken;
        inside -= ring_flush(&ring, ends[1], &broken);
        CHECK(!broken && inside == ring.length);
        ssize_t got = read(ends[0], seen, turn * 104729 % sizeof seen);
        for (ssize_t i = 0; i < got; i++) {
            CHECK(seen[i] == next_out++);
        }
    }
    close(ends[0]);
    bool broken;
    CHECK(ring_put(&ring, piece, 1));
    ring_flush(&ring, ends[1], &broken);
    CHECK(broken && ring.length == 0);
    close(ends[1]);
}

static void test_outbox_cuts_nothing(void) {
    static uint8_t buffer[200000];
    struct outbox outbox = {buffer, sizeof buffer, 0, 0};
    int ends[2];
    make_pipe(ends);
    static uint8_t payload[70000], seen[HEADER_BYTES + sizeof payload];
    memset(payload, 'x', sizeof payload);
    CHECK(outbox_room(&outbox) == sizeof buffer - HEADER_BYTES);
    outbox_put(&outbox, FRAME_STDOUT, 7, payload, sizeof payload);
    outbox_put(&outbox, FRAME_PONG, 0, NULL, 0);
    CHECK(outbox_flush(&outbox, ends[1]) && !outbox_is_empty(&outbox));
    size_t got = 0;
    while (got < sizeof seen) {
        ssize_t count = read(ends[0], seen + got, sizeof seen - got);
        got += count > 0 ? (size_t)count : 0;
        CHECK(outbox_flush(&outbox, ends[1]));
        /* Room comes back as bytes leave, though the frame they belong to is not out. */
        outbox_payload(&outbox);
    }
    CHECK(seen[4] == FRAME_STDOUT && seen[8] == 7 && load_u32(seen) == sizeof payload);
    CHECK(memcmp(seen + HEADER_BYTES, payload, sizeof payload) == 0);
    CHECK(read(ends[0], seen, HEADER_BYTES) == HEADER_BYTES && seen[4] == FRAME_PONG && load_u32(seen) == 0);
    CHECK(outbox_is_empty(&outbox));
    close(ends[0]);
    outbox_put(&outbox, FRAME_PONG, 0, NULL, 0);
    CHECK(!outbox_flush(&outbox, ends[1]));
    close(ends[1]);
}

static void test_outbox_says_when_it_is_full(void) {
    uint8_t buffer[HEADER_BYTES + 4];
    struct outbox outbox = {buffer, sizeof buffer, 0, 0};
    CHECK(outbox_room(&outbox) == 4);
    outbox_put(&outbox, FRAME_PONG, 0, "1234", 4);
    CHECK(outbox_room(&outbox) == 0);
    outbox_clear(&outbox);
    CHECK(outbox_room(&outbox) == 4);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    test_ring_wraps();
    test_outbox_cuts_nothing();
    test_outbox_says_when_it_is_full();
    return 0;
}
