#include "output.h"

#include <errno.h>
#include <unistd.h>

#include "agent.h"
#include "reply.h"

enum { CHUNK = 64 * 1024 };

size_t output_allowed(const struct agent *agent, const struct process *process) {
    size_t room = outbox_room(&agent->outbox);
    size_t allowed = room > DATA_RESERVE ? room - DATA_RESERVE : 0;
    allowed = allowed < CHUNK ? allowed : CHUNK;
    return allowed < process->credit ? allowed : (size_t)process->credit;
}

/* Bytes sent; 0 if the pipe is empty, which closes it if nobody can fill it again. */
static size_t pump(struct agent *agent, struct process *process, int *pipe, uint8_t type) {
    size_t allowed = output_allowed(agent, process);
    uint8_t *payload = outbox_payload(&agent->outbox);
    ssize_t count = read(*pipe, payload, allowed);
    if (count > 0) {
        outbox_commit(&agent->outbox, type, process->stream, (size_t)count);
        process->credit -= (uint64_t)count;
        return (size_t)count;
    }
    if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
        close(*pipe);
        *pipe = -1;
    }
    return 0;
}

void output_pump(struct agent *agent, struct process *process, int *pipe, uint8_t type) {
    if (*pipe >= 0 && output_allowed(agent, process) > 0) {
        pump(agent, process, pipe, type);
    }
}

static bool drain(struct agent *agent, struct process *process, int *pipe, uint8_t type) {
    while (*pipe >= 0) {
        if (output_allowed(agent, process) == 0) {
            return false;
        }
        if (pump(agent, process, pipe, type) == 0 && *pipe >= 0) {
            /* Empty, and yet open: a descendant that left the process group holds it. Its output came too late. */
            close(*pipe);
            *pipe = -1;
        }
    }
    return true;
}

bool output_drain(struct agent *agent, struct process *process) {
    return drain(agent, process, &process->output, FRAME_STDOUT) &&
           drain(agent, process, &process->errors, FRAME_STDERR);
}

size_t output_put(struct agent *agent, struct process *process, uint8_t type, const uint8_t *bytes, size_t count) {
    size_t allowed = output_allowed(agent, process);
    size_t sent = count < allowed ? count : allowed;
    if (sent > 0) {
        outbox_put(&agent->outbox, type, process->stream, bytes, sent);
        process->credit -= sent;
    }
    return sent;
}

static void refuse_result(struct agent *agent, struct process *process) {
    reply_error(agent, process->stream, "output_limit", "the result is larger than its limit", 0);
    process->result_state = RESULT_REFUSED;
}

size_t result_put(struct agent *agent, struct process *process, const uint8_t *bytes, size_t count) {
    if (process->result_state != RESULT_REFUSED && count > process->result_limit) {
        refuse_result(agent, process);
    }
    if (process->result_state == RESULT_REFUSED) {
        return count;
    }
    size_t sent = output_put(agent, process, FRAME_RESULT, bytes, count);
    if (sent > 0) {
        process->result_limit -= sent;
        process->result_state = RESULT_BEGUN;
    }
    return sent;
}

void result_open(struct agent *agent, struct process *process) {
    uint64_t size;
    if (process->result_path[0] == '\0' || process->result_state != RESULT_NONE) {
        return;
    }
    process->result = files_open_result(&agent->work, process->result_path, &size);
    if (process->result < 0) {
        if (errno != ENOENT) {
            reply_error(agent, process->stream, files_error_kind(errno), process->result_path, errno);
        }
        return;
    }
    if (size > process->result_limit) {
        refuse_result(agent, process);
    } else {
        process->result_left = size;
    }
}

bool result_send(struct agent *agent, struct process *process) {
    while (process->result_left > 0) {
        size_t allowed = output_allowed(agent, process);
        if (allowed == 0) {
            return false;
        }
        allowed = allowed < process->result_left ? allowed : (size_t)process->result_left;
        ssize_t count = read(process->result, outbox_payload(&agent->outbox), allowed);
        if (count <= 0) {
            reply_error(agent, process->stream, "io", "reading the result", count < 0 ? errno : EIO);
            break;
        }
        outbox_commit(&agent->outbox, FRAME_RESULT, process->stream, (size_t)count);
        process->credit -= (uint64_t)count;
        process->result_left -= (uint64_t)count;
    }
    return true;
}
