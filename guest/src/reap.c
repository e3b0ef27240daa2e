#include "reap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reply.h"
#include "textfile.h"

static struct process *find_pid(struct agent *agent, pid_t pid) {
    for (struct process *process = agent->processes; process < agent->processes + PROCESSES_MOST; process++) {
        if (process->stage != STAGE_FREE && process->pid == pid) {
            return process;
        }
    }
    return NULL;
}

static void note(struct agent *agent, struct process *process, int status, const struct rusage *rusage) {
    if (process->stage != STAGE_WAITING) {
        struct usage used = usage_reaped(rusage, &process->group);
        process_ended(process, status, &used);
        return;
    }
    process->pid = 0;
    if (!reply_possible(agent) || !harness_died(agent, status)) {
        agent->ending = ENDING_FAULT;
    }
}

void reap(struct agent *agent) {
    siginfo_t info = {0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
        pid_t pid = info.si_pid;
        struct process *process = find_pid(agent, pid);
        if (process != NULL) {
            /* Before it is reaped: from then on its number, and so that of its process group, may be another's. */
            process_kill(process);
        } else if (pid == agent->harness.leaving) {
            harness_put_away(&agent->harness);
        }
        int status = 0;
        struct rusage rusage = {0};
        if (wait4(pid, &status, 0, &rusage) == pid && process != NULL) {
            note(agent, process, status, &rusage);
        }
        info.si_pid = 0;
    }
}

/* Only numbers with the space behind them: the last one may be cut off. */
static void kill_children(void) {
    char path[64], text[TEXT_CAPACITY];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    if (!text_read(AT_FDCWD, path, text)) {
        return;
    }
    char *rest = text;
    for (char *end; (end = strchr(rest, ' ')) != NULL; rest = end + 1) {
        kill((pid_t)strtol(rest, NULL, 10), SIGKILL);
    }
}

void reap_everything(struct agent *agent) {
    for (struct process *process = agent->processes; process < agent->processes + PROCESSES_MOST; process++) {
        if (process->pid > 0) {
            process_kill(process);
        }
    }
    if (getpid() == 1) {
        kill(-1, SIGKILL);
    }
    do {
        kill_children();
    } while (waitpid(-1, NULL, 0) >= 0 || errno == EINTR);
    for (struct process *process = agent->processes; process < agent->processes + PROCESSES_MOST; process++) {
        if (process->stage != STAGE_FREE) {
            process_release(agent, process);
        }
    }
}
