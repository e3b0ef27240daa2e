/* Numbers of the channel protocol; docs/reference/channel-protocol.md explains them. */
#ifndef CAISSON_PROTOCOL_H
#define CAISSON_PROTOCOL_H

enum {
    PROTOCOL_VERSION = 1,
    HEADER_BYTES = 9,
    FIELD_HEADER_BYTES = 5,
    MAX_PAYLOAD = 1 << 20,
    MAX_FIELDS = 65536,
    MAX_PING = 64,
    NONCE_BYTES = 16,
    OUTPUT_WINDOW = 1 << 18,
    INPUT_WINDOW = 1 << 16,
};

enum frame_type {
    FRAME_HELLO = 0x01,
    FRAME_READY = 0x02,
    FRAME_RENEWED = 0x03,
    FRAME_STARTED = 0x04,
    FRAME_STDOUT = 0x10,
    FRAME_STDERR = 0x11,
    FRAME_RESULT = 0x12,
    FRAME_EXCEPTION = 0x13,
    FRAME_EXIT = 0x14,
    FRAME_ERROR = 0x1f,
    FRAME_FILE = 0x40,
    FRAME_FILE_DATA = 0x41,
    FRAME_START = 0x42,
    FRAME_STDIN = 0x43,
    FRAME_SIGNAL = 0x44,
    FRAME_RENEW = 0x45,
    FRAME_INPUT = 0x46,
    FRAME_PING = 0x70,
    FRAME_PONG = 0x71,
    FRAME_CREDIT = 0x72,
};

enum tag {
    TAG_VERSION = 1,
    TAG_NONCE = 2,
    TAG_FEATURE = 3,
    TAG_RUNTIME_VERSION = 4,
    TAG_ARGV = 16,
    TAG_ENV = 17,
    TAG_CWD = 18,
    TAG_ENTRYPOINT = 19,
    TAG_ARG = 20,
    TAG_INPUT = 21,
    TAG_OUTPUT_PATH = 22,
    TAG_LIMIT_PIDS = 24,
    TAG_LIMIT_NOFILE = 25,
    TAG_LIMIT_FSIZE = 26,
    TAG_LIMIT_OUTPUT = 27,
    TAG_PATH = 32,
    TAG_MODE = 33,
    TAG_SIZE = 34,
    TAG_CODE = 48,
    TAG_SIGNAL = 49,
    TAG_CPU_US = 50,
    TAG_PEAK_BYTES = 51,
    TAG_OOM_KILLS = 52,
    TAG_MESSAGE = 53,
    TAG_TRACE = 54,
    TAG_KIND = 55,
    TAG_ENTROPY = 64,
    TAG_CLOCK_NS = 65,
    TAG_HOSTNAME = 66,
    TAG_MACHINE_ID = 67,
    TAG_COUNT = 68,
};

#endif
