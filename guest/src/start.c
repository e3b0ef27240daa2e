#include "start.h"

#include <errno.h>
#include <string.h>

#include "fields.h"
#include "reply.h"
#include "root.h"

struct request {
    struct message message;
    bool has_argv;
    char cwd[PATH_CAPACITY];
    char result_path[PATH_CAPACITY];
    struct limits limits;
    uint64_t result_limit;
    uint64_t input_size;
};

static bool read_text(const struct message *message, enum tag tag, char text[PATH_CAPACITY]) {
    text[0] = '\0';
    return !message_has(message, tag) || bytes_to_text(message->values[tag], text, PATH_CAPACITY);
}

/* ARGV and ENV become C strings, so none of them may hold a NUL. */
static bool read_lists(struct request *request) {
    struct bytes rest = request->message.payload;
    struct field field;
    while (field_next(&rest, &field) == FIELD_NEXT) {
        bool is_argument = field.tag == TAG_ARGV;
        if ((is_argument || field.tag == TAG_ENV) && memchr(field.value.at, 0, field.value.length) != NULL) {
            return false;
        }
        request->has_argv |= is_argument;
    }
    return true;
}

static bool read_request(struct bytes payload, struct request *request) {
    memset(request, 0, sizeof *request);
    request->result_limit = UINT64_MAX;
    struct message *message = &request->message;
    return message_read(payload, message) && read_lists(request) && read_text(message, TAG_CWD, request->cwd) &&
           read_text(message, TAG_OUTPUT_PATH, request->result_path) &&
           message_integer(message, TAG_LIMIT_PIDS, &request->limits.pids) &&
           message_integer(message, TAG_LIMIT_NOFILE, &request->limits.open_files) &&
           message_integer(message, TAG_LIMIT_FSIZE, &request->limits.file_bytes) &&
           message_integer(message, TAG_LIMIT_OUTPUT, &request->result_limit) &&
           message_integer(message, TAG_LIMIT_MEMORY, &request->limits.memory_bytes) &&
           message_integer(message, TAG_LIMIT_DISK, &request->limits.disk_bytes) &&
           message_integer(message, TAG_SIZE, &request->input_size) &&
           request->has_argv != message_has(message, TAG_ENTRYPOINT);
}

static uint64_t most_memory(const struct agent *agent, const struct request *request) {
    uint64_t most = (uint64_t)agent->options->memory_mb << 20;
    return request->limits.memory_bytes != NO_LIMIT ? request->limits.memory_bytes : most;
}

static void run_program(struct agent *agent, struct process *process, const struct request *request) {
    cgroup_make(&process->group, agent->cgroups, (unsigned)(process - agent->processes));
    cgroup_limit_memory(&process->group, most_memory(agent, request));
    uint64_t most = request->limits.pids;
    struct spawn_plan plan = {
        .options = agent->options,
        .group = &process->group,
        .limits = request->limits,
        .limit_pids_by_user = most != NO_LIMIT && !cgroup_limit_pids(&process->group, most),
        .start = request->message.payload,
        .cwd = request->cwd,
        .output = request->result_path,
    };
    process->before = usage_running(0, &process->group);
    process->before.cpu_us = 0;
    struct spawned spawned;
    if (!spawn(&plan, &spawned)) {
        reply_error(agent, process->stream, "spawn", "making a process", errno);
        process_release(agent, process);
        return;
    }
    process_attach(process, &spawned, STAGE_STARTING);
}

/* The harness takes the place, the credit included, of what was claimed for the stream so far. */
static void run_harness(struct agent *agent, struct process *claimed, const struct request *request) {
    struct process *process = agent->harness.process;
    if (agent->harness.stage != HARNESS_READY) {
        reply_error(agent, claimed->stream, "spawn", "no harness is waiting", 0);
        process_release(agent, claimed);
        return;
    }
    process->stage = STAGE_STARTING;
    process->stream = claimed->stream;
    process->credit = claimed->credit;
    process->result_limit = request->result_limit;
    memcpy(process->result_path, request->result_path, sizeof process->result_path);
    process_release(agent, claimed);
    process->before = usage_running(process->pid, &process->group);
    spawn_limit_running(process->pid, &process->group, &request->limits);
    if (request->limits.memory_bytes != NO_LIMIT) {
        cgroup_limit_memory(&process->group, request->limits.memory_bytes);
    }
    harness_begin(agent, request->message.payload, request->input_size);
}

static struct request request;

void start_touch(void) {
    memset(&request, 0, sizeof request);
}

bool start(struct agent *agent, const struct frame *frame) {
    struct process *process = process_find(agent, frame->stream);
    if (process != NULL && process->stage == STAGE_REFUSED) {
        process_release(agent, process);
        return true;
    }
    if (process == NULL) {
        process = process_claim(agent, frame->stream, STAGE_FILES);
    }
    if (process == NULL || process->stage != STAGE_FILES || process->file >= 0 ||
        !read_request((struct bytes){frame->payload, frame->length}, &request)) {
        return false;
    }
    if (request.limits.disk_bytes != NO_LIMIT && !root_limit_disk(request.limits.disk_bytes)) {
        reply_error(agent, frame->stream, files_error_kind(errno), "the writable layer", errno);
        process_release(agent, process);
        return true;
    }
    if (request.result_path[0] != '\0' && files_make_parents(&agent->work, request.result_path) < 0) {
        reply_error(agent, frame->stream, files_error_kind(errno), request.result_path, errno);
        process_release(agent, process);
        return true;
    }
    if (request.has_argv) {
        process->result_limit = request.result_limit;
        memcpy(process->result_path, request.result_path, sizeof process->result_path);
        run_program(agent, process, &request);
    } else {
        run_harness(agent, process, &request);
    }
    return true;
}
