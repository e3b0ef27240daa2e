/* What the init of a machine must mount before anything else works. */
#ifndef CAISSON_MOUNT_H
#define CAISSON_MOUNT_H

/* NULL, or the place that could not be mounted, with errno. What is mounted already is left as it is. */
const char *mount_all(void);

#endif
