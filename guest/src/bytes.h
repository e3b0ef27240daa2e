/* Integers in network order, and runs of bytes that belong to somebody else. */
#ifndef CAISSON_BYTES_H
#define CAISSON_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *at; /* NULL: absent */
    size_t length;
};

static inline uint32_t load_u32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | (uint32_t)at[3];
}

static inline uint64_t load_u64(const uint8_t *at) {
    return (uint64_t)load_u32(at) << 32 | load_u32(at + 4);
}

static inline void store_u32(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static inline void store_u64(uint8_t *at, uint64_t value) {
    store_u32(at, (uint32_t)(value >> 32));
    store_u32(at + 4, (uint32_t)value);
}

/* The bytes as a string in `text`. False if they hold a NUL or do not fit: a C interface would then see another name
   than the sender meant. */
static inline bool bytes_to_text(struct bytes bytes, char *text, size_t capacity) {
    if (bytes.length >= capacity || (bytes.length > 0 && memchr(bytes.at, 0, bytes.length) != NULL)) {
        return false;
    }
    if (bytes.length > 0) {
        memcpy(text, bytes.at, bytes.length);
    }
    text[bytes.length] = '\0';
    return true;
}

#endif
