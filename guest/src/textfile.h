/* The one-line files through which the kernel is asked and told: in /proc, /sys and control groups. */
#ifndef CAISSON_TEXTFILE_H
#define CAISSON_TEXTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXT_CAPACITY = 4096 };

/* Paths are relative to `folder`, or absolute. All of these are false where the file is missing or refuses. */
bool text_write(int folder, const char *path, const char *text);
bool text_read(int folder, const char *path, char text[TEXT_CAPACITY]);

/* The number after `key` and white space at the start of a line, or, with an empty key, the first line. */
bool text_read_number(int folder, const char *path, const char *key, uint64_t *number);

/* The same in a text that was read. */
bool text_find_number(const char *text, const char *key, uint64_t *number);

/* `number` in decimal; the string is good until the next call. */
const char *text_of_number(uint64_t number);

#endif
