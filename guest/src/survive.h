/* What lets the agent go on while the programs it started use up everything. */
#ifndef CAISSON_SURVIVE_H
#define CAISSON_SURVIVE_H

/* Each measure is taken if the agent may; without privileges it must do without some. */
void survive(void);

#endif
