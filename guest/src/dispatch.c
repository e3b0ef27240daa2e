#include "dispatch.h"

#include <errno.h>
#include <unistd.h>

#include "fields.h"
#include "input.h"
#include "renew.h"
#include "reply.h"
#include "start.h"

enum { SIGNAL_MOST = 64, MODE_FOLDER = 0040000 };

static struct bytes payload_of(const struct frame *frame) {
    return (struct bytes){frame->payload, frame->length};
}

static bool ping(struct agent *agent, const struct frame *frame) {
    if (frame->length > MAX_PING) {
        return false;
    }
    outbox_put(&agent->outbox, FRAME_PONG, frame->stream, frame->payload, frame->length);
    return true;
}

static bool credit(struct process *process, const struct frame *frame) {
    struct message message;
    uint64_t size = 0;
    if (!message_read(payload_of(frame), &message) || !message_has(&message, TAG_SIZE) ||
        !message_integer(&message, TAG_SIZE, &size)) {
        return false;
    }
    if (process == NULL) {
        return true;
    }
    if (size > INT64_MAX - process->credit) {
        return false;
    }
    process->credit += size;
    return true;
}

static void refuse_file(struct agent *agent, struct process *process) {
    reply_error(agent, process->stream, files_error_kind(errno), process->file_path, errno);
    if (process->file >= 0) {
        close(process->file);
        process->file = -1;
    }
    process->stage = STAGE_REFUSED;
}

static void end_file(struct process *process) {
    if (process->file_left == 0) {
        close(process->file);
        process->file = -1;
    }
}

static bool file(struct agent *agent, struct process *process, const struct frame *frame) {
    if (process == NULL) {
        process = process_claim(agent, frame->stream, STAGE_FILES);
    } else if (process->stage == STAGE_REFUSED) {
        return true;
    }
    struct message message;
    uint64_t mode = 0644, size = 0;
    if (process == NULL || process->stage != STAGE_FILES || process->file >= 0 ||
        !message_read(payload_of(frame), &message) || !message_has(&message, TAG_PATH) ||
        !message_integer(&message, TAG_MODE, &mode) || !message_integer(&message, TAG_SIZE, &size)) {
        return false;
    }
    if (!bytes_to_text(message.values[TAG_PATH], process->file_path, sizeof process->file_path)) {
        process->file_path[0] = '\0';
        errno = ENAMETOOLONG;
        refuse_file(agent, process);
        return true;
    }
    if ((mode & MODE_FOLDER) != 0) {
        if (files_make_folder(&agent->work, process->file_path, (mode_t)mode) < 0) {
            refuse_file(agent, process);
        }
        return size == 0;
    }
    process->file = files_create(&agent->work, process->file_path, (mode_t)mode);
    process->file_left = size;
    if (process->file < 0) {
        refuse_file(agent, process);
    } else {
        end_file(process);
    }
    return true;
}

static bool file_data(struct agent *agent, struct process *process, const struct frame *frame) {
    if (process == NULL || process->stage == STAGE_REFUSED) {
        return process != NULL;
    }
    if (process->file < 0 || frame->length > process->file_left) {
        return false;
    }
    if (files_write(process->file, frame->payload, frame->length) < 0) {
        refuse_file(agent, process);
        return true;
    }
    process->file_left -= frame->length;
    end_file(process);
    return true;
}

static bool standard_input(struct process *process, const struct frame *frame) {
    if (process == NULL || process->stage == STAGE_REFUSED) {
        return true;
    }
    return process->stage != STAGE_FILES && input_put(process, frame->payload, frame->length);
}

static bool input(struct agent *agent, struct process *process, const struct frame *frame) {
    if (process == NULL || process->stage == STAGE_REFUSED || process->stage > STAGE_RUNNING) {
        return true;
    }
    return process == agent->harness.process && harness_input(agent, frame->payload, frame->length);
}

static bool signal_process(struct process *process, const struct frame *frame) {
    struct message message;
    uint64_t number = 0;
    if (!message_read(payload_of(frame), &message) || !message_integer(&message, TAG_SIGNAL, &number) || number < 1 ||
        number > SIGNAL_MOST) {
        return false;
    }
    if (process != NULL) {
        process_signal(process, (int)number);
    }
    return true;
}

/* Frames about one process. */
static bool dispatch_to(struct agent *agent, const struct frame *frame) {
    struct process *process = process_find(agent, frame->stream);
    switch (frame->type) {
    case FRAME_CREDIT:
        return credit(process, frame);
    case FRAME_FILE:
        return file(agent, process, frame);
    case FRAME_FILE_DATA:
        return file_data(agent, process, frame);
    case FRAME_START:
        return start(agent, frame);
    case FRAME_STDIN:
        return standard_input(process, frame);
    case FRAME_SIGNAL:
        return signal_process(process, frame);
    case FRAME_INPUT:
        return input(agent, process, frame);
    default:
        return false;
    }
}

bool dispatch(struct agent *agent, const struct frame *frame) {
    switch (frame->type) {
    case FRAME_PING:
        return ping(agent, frame);
    case FRAME_PONG:
        return true;
    case FRAME_RENEW:
        return renew(agent, payload_of(frame));
    default:
        return frame->stream != 0 && dispatch_to(agent, frame);
    }
}
