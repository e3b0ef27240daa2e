/* What the init of a machine must mount before anything else works. */
#ifndef CAISSON_MOUNT_H
#define CAISSON_MOUNT_H

#include "options.h"

/* Mounts /dev alone, which drivers are awaited in. NULL, or the place. */
const char *mount_devices(void);

/* NULL, or with errno what could not be done. What is mounted already is left as it is. */
const char *mount_all(const struct options *options);

#endif
