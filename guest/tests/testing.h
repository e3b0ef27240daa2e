/* What the unit tests share: a check that says where it failed. */
#ifndef CAISSON_TESTING_H
#define CAISSON_TESTING_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                      \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            fprintf(stderr, "%s:%d: %s: not %s\n", __FILE__, __LINE__, __func__, #condition); \
            exit(1);                                                                          \
        }                                                                                     \
    } while (0)

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

#endif
