/* Drivers that a kernel does not have built in. */
#ifndef CAISSON_MODULES_H
#define CAISSON_MODULES_H

#include "options.h"

/* Loads the modules of the initramfs, and waits for the channel's device to appear. NULL, or with errno what is missing. */
const char *modules_load(const struct options *options);

#endif
