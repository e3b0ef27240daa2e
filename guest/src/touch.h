/* Pages that are there before they are needed. */
#ifndef CAISSON_TOUCH_H
#define CAISSON_TOUCH_H

struct agent;

/* Uses the memory that the first program will take. In gVisor the first use of a page costs up to a millisecond, and
   after a fork every page is a new one when it is written to. */
void touch(struct agent *agent);

#endif
