#include "input.h"

#include <unistd.h>

#include "agent.h"
#include "reply.h"

bool input_put(struct process *process, const uint8_t *bytes, uint32_t count) {
    if (count > process->input_window || process->input_ends) {
        return false;
    }
    process->input_window -= count;
    process->input_ends = count == 0;
    if (process->input < 0) {
        process->input_taken += count;
        return true;
    }
    bool fits = ring_put(&process->pending_input, bytes, count);
    input_pump(process);
    return fits;
}

void input_pump(struct process *process) {
    if (process->input < 0) {
        return;
    }
    bool broken;
    process->input_taken += (uint32_t)ring_flush(&process->pending_input, process->input, &broken);
    if (broken || (process->input_ends && process->pending_input.length == 0)) {
        close(process->input);
        process->input = -1;
    }
}

void input_grant(struct agent *agent, struct process *process) {
    if (process->input_taken >= INPUT_WINDOW / 2 && reply_possible(agent)) {
        reply_credit(agent, process->stream, process->input_taken);
        process->input_window += process->input_taken;
        process->input_taken = 0;
    }
}
