/* The way of a forked child to its program. */
#ifndef CAISSON_CHILD_H
#define CAISSON_CHILD_H

#include "spawn.h"

/* The child's ends of its pipes; they become its descriptors 0, 1, 2 and 3. */
struct child_ends {
    int input;
    int output;
    int errors;
    int channel; /* -1: none */
    int report;
};

enum spawn_step { STEP_GROUP, STEP_LIMITS, STEP_USER, STEP_FOLDER, STEP_DESCRIPTORS, STEP_PROGRAM };

_Noreturn void child_run(const struct spawn_plan *plan, const struct child_ends *ends);

#endif
