/* The root file system of a machine of its own: a shared read-only image with a writable layer above it. */
#ifndef CAISSON_ROOT_H
#define CAISSON_ROOT_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"

/* Lays the root together, and makes it ours. `/caisson` comes along, read-only, and
   the work folder is made. NULL, or with errno what could not be done. */
const char *root_enter(const struct options *options);

/* Takes from the writable layer's disk, once, all that is more than this. True where there is no such disk; false, with
   errno, if less than that is left of it. */
bool root_limit_disk(uint64_t most);

#endif
