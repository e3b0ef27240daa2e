#include "textfile.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool text_write(int folder, const char *path, const char *text) {
    int fd = openat(folder, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    return close(fd) == 0 && done;
}

bool text_read(int folder, const char *path, char text[TEXT_CAPACITY]) {
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    size_t length = 0;
    ssize_t count;
    while ((count = read(fd, text + length, TEXT_CAPACITY - 1 - length)) > 0) {
        length += (size_t)count;
    }
    close(fd);
    text[length] = '\0';
    return count == 0;
}

bool text_read_number(int folder, const char *path, const char *key, uint64_t *number) {
    char text[TEXT_CAPACITY];
    return text_read(folder, path, text) && text_find_number(text, key, number);
}

bool text_find_number(const char *text, const char *key, uint64_t *number) {
    size_t length = strlen(key);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) != 0) {
            continue;
        }
        const char *digits = line + length + strspn(line + length, " \t");
        if ((length == 0 || digits > line + length) && *digits >= '0' && *digits <= '9') {
            *number = strtoull(digits, NULL, 10);
            return true;
        }
    }
    return false;
}

const char *text_of_number(uint64_t number) {
    static char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    return text;
}
