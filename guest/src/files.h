/* Files below the work folder: nothing here follows a link or leaves that folder, whatever the path says. */
#ifndef CAISSON_FILES_H
#define CAISSON_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PATH_CAPACITY = 4096 };

struct work_folder {
    int fd;
    uid_t owner; /* of what is made in it; only root can give things away */
    gid_t group;
    bool is_given_away;
};

/* False, with errno, if it is not there. */
bool files_open(struct work_folder *work, const char *path, uid_t owner, gid_t group);

/* All of these return 0 or a descriptor, or -1 with errno. `path` is relative, and made of plain names. */
int files_make_folder(const struct work_folder *work, const char *path, mode_t mode);
int files_make_parents(const struct work_folder *work, const char *path);
int files_create(const struct work_folder *work, const char *path, mode_t mode);

/* An existing plain file and its size, whoever made it. */
int files_open_result(const struct work_folder *work, const char *path, uint64_t *size);

/* All of the bytes. */
int files_write(int fd, const uint8_t *bytes, size_t count);

/* The name of this errno in an ERROR. */
const char *files_error_kind(int error);

#endif
