#include "survive.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kernel.h"
#include "textfile.h"

enum { OPEN_FILES = 4096, NICENESS_LEAST = -20 };

static void raise_open_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < OPEN_FILES) {
        limit.rlim_cur = limit.rlim_max < OPEN_FILES ? limit.rlim_max : OPEN_FILES;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void survive(void) {
    /* Pages are locked when first used: the buffers of processes that never are must not cost memory in each of many
       copies of a machine. */
    mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
    text_write(AT_FDCWD, "/proc/self/oom_score_adj", "-1000");
    setpriority(PRIO_PROCESS, 0, NICENESS_LEAST);
    raise_open_files();
    signal(SIGPIPE, SIG_IGN);
    /* Orphans come to us, as they come to PID 1. */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}
