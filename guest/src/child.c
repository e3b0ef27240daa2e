#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fields.h"
#include "textfile.h"

enum { OPEN_FILES_DEFAULT = 1024 };

extern char **environ;

/* Room for every argument and variable a message can hold; untouched, and so no memory, but in a child. */
static char *strings[MAX_FIELDS + 4];
static char output_variable[sizeof "CAISSON_OUTPUT=/" + 2 * 4096];

static _Noreturn void fail(const struct child_ends *ends, enum spawn_step step) {
    struct spawn_failure failure = {.step = (int)step, .error = errno};
    /* Nobody can be told if this fails too; the agent then sees a program that ended with 127. */
    (void)!write(ends->report, &failure, sizeof failure);
    _exit(127);
}

static bool limit(int resource, uint64_t value) {
    struct rlimit present;
    if (getrlimit(resource, &present) != 0) {
        return false;
    }
    rlim_t most = geteuid() != 0 && present.rlim_max < value ? present.rlim_max : value;
    struct rlimit wanted = {.rlim_cur = most, .rlim_max = most};
    return setrlimit(resource, &wanted) == 0;
}

static bool apply_limits(const struct spawn_plan *plan) {
    const struct limits *limits = &plan->limits;
    return limit(RLIMIT_CORE, 0) &&
           limit(RLIMIT_NOFILE, limits->open_files != NO_LIMIT ? limits->open_files : OPEN_FILES_DEFAULT) &&
           (limits->file_bytes == NO_LIMIT || limit(RLIMIT_FSIZE, limits->file_bytes)) &&
           (limits->pids == NO_LIMIT || !plan->limit_pids_by_user || limit(RLIMIT_NPROC, limits->pids));
}

static bool drop_privileges(const struct options *options) {
    if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setresgid(options->group, options->group, options->group) != 0 ||
                           setresuid(options->user, options->user, options->user) != 0)) {
        return false;
    }
    /* Only now: a change of user takes the death signal away again (prctl(2)). */
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0;
}

/* Whoever started the agent may have had signals ignored, nohup for one, and that is inherited. The C library refuses to
   touch the few it keeps for itself, the kernel does not: what it wants to be told is all zeros for the default. */
static void default_signals(void) {
    static const unsigned long by_default[4];
    for (int number = 1; number < NSIG; number++) {
        syscall(SYS_rt_sigaction, number, by_default, NULL, NSIG / 8);
    }
}

/* What the agent gave itself to survive must not be handed on. */
static void become_ordinary(void) {
    text_write(AT_FDCWD, "/proc/self/oom_score_adj", "0");
    setpriority(PRIO_PROCESS, 0, 0);
    default_signals();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool take_descriptors(const struct child_ends *ends) {
    return dup2(ends->input, 0) >= 0 && dup2(ends->output, 1) >= 0 && dup2(ends->errors, 2) >= 0 &&
           (ends->channel < 0 || dup2(ends->channel, 3) >= 0);
}

/* Lists the fields with this tag in `strings`, from `first` on, with a NULL behind them; the index behind that. */
static size_t list_fields(struct bytes payload, enum tag tag, size_t first) {
    struct field field;
    while (field_next(&payload, &field) == FIELD_NEXT) {
        if (field.tag == tag) {
            strings[first++] = (char *)(uintptr_t)field.value.at;
        }
    }
    strings[first] = NULL;
    return first + 1;
}

/* Makes every field a string. Its NUL takes the place of the next field's tag, which was read by then; behind the last
   one lies another frame, or the buffer's spare byte. This memory is the child's own copy. */
static void terminate_fields(struct bytes payload) {
    struct field field;
    uint8_t *end = NULL;
    while (field_next(&payload, &field) == FIELD_NEXT) {
        if (end != NULL) {
            *end = '\0';
        }
        end = (uint8_t *)(uintptr_t)(field.value.at + field.value.length);
    }
    if (end != NULL) {
        *end = '\0';
    }
}

static char *const *read_arguments(const struct spawn_plan *plan) {
    size_t first_variable = list_fields(plan->start, TAG_ARGV, 0);
    size_t next = first_variable;
    if (plan->output[0] != '\0') {
        snprintf(output_variable, sizeof output_variable, "CAISSON_OUTPUT=%s/%s", plan->options->work, plan->output);
        strings[next++] = output_variable;
    }
    list_fields(plan->start, TAG_ENV, next);
    terminate_fields(plan->start);
    environ = strings + first_variable;
    return strings;
}

_Noreturn void child_run(const struct spawn_plan *plan, const struct child_ends *ends) {
    setsid();
    if (plan->group->fd >= 0 && !text_write(plan->group->fd, "cgroup.procs", "0")) {
        fail(ends, STEP_GROUP);
    }
    become_ordinary();
    if (!apply_limits(plan)) {
        fail(ends, STEP_LIMITS);
    }
    if (!drop_privileges(plan->options)) {
        fail(ends, STEP_USER);
    }
    if (chdir(plan->options->work) != 0 || (plan->cwd[0] != '\0' && chdir(plan->cwd) != 0)) {
        fail(ends, STEP_FOLDER);
    }
    if (!take_descriptors(ends)) {
        fail(ends, STEP_DESCRIPTORS);
    }
    char *const *argv = plan->argv != NULL ? plan->argv : read_arguments(plan);
    execvp(argv[0], argv);
    fail(ends, STEP_PROGRAM);
}
