#include "rehearse.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define NAME ".caisson-rehearsal"
enum { PROGRAM_MOST = 16 << 20, PIECE = 16 * 1024 };

static void rehearse_files(const struct work_folder *work) {
    static const char path[] = NAME "/file";
    int fd = files_create(work, path, 0644);
    if (fd >= 0) {
        files_write(fd, (const uint8_t *)path, sizeof path);
        close(fd);
        unlinkat(work->fd, path, 0);
    }
    unlinkat(work->fd, NAME, AT_REMOVEDIR);
}

/* Once, and so for all copies: what of an interpreter's code lies on the disk only is read from there when it is needed. */
static void read_program(pid_t pid) {
    static bool is_done;
    static uint8_t piece[PIECE];
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    int fd = is_done ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        for (size_t done = 0; done < PROGRAM_MOST && read(fd, piece, PIECE) > 0; done += PIECE) {
        }
        close(fd);
        is_done = true;
    }
}

void rehearse(struct agent *agent) {
    rehearse_files(&agent->work);
    struct process *process = agent->harness.process;
    if (process != NULL) {
        read_program(process->pid);
        usage_running(process->pid, &process->group);
        usage_peak_running(process->pid, &process->group);
        cgroup_limit_memory(&process->group, (uint64_t)agent->options->memory_mb << 20);
        cgroup_holds_too_much(&process->group);
    }
}
