#include "renew.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fields.h"
#include "kernel.h"
#include "rehearse.h"
#include "reply.h"

enum { NAME_CAPACITY = 65 };

/* Without this, copies of one machine draw the same numbers: mixing bytes in is not enough until the generator that
   hands them out is seeded again from the pool (random(4)). */
static bool reseed(struct bytes entropy) {
    struct rand_pool_info pool = {.entropy_count = (int)entropy.length * 8, .buf_size = (int)entropy.length};
    memcpy(pool.buf, entropy.at, entropy.length);
    int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool done = ioctl(fd, RNDADDENTROPY, &pool) == 0 && ioctl(fd, RNDRESEEDCRNG) == 0;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

static bool set_clock(uint64_t nanoseconds) {
    struct timespec now = {.tv_sec = (time_t)(nanoseconds / 1000000000), .tv_nsec = (long)(nanoseconds % 1000000000)};
    return clock_settime(CLOCK_REALTIME, &now) == 0;
}

static bool write_machine_id(const char *id) {
    int fd = open("/etc/machine-id", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0444);
    if (fd < 0) {
        return false;
    }
    bool done = dprintf(fd, "%s\n", id) > 0;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

/* The step that failed, with errno; NULL if none did. */
static const char *carry_out(const struct message *message, uint64_t clock_ns, const char *host, const char *machine) {
    if (message_has(message, TAG_ENTROPY) && !reseed(message->values[TAG_ENTROPY])) {
        return "reseeding the kernel's randomness";
    }
    if (message_has(message, TAG_CLOCK_NS) && !set_clock(clock_ns)) {
        return "setting the clock";
    }
    if (message_has(message, TAG_HOSTNAME) && sethostname(host, strlen(host)) != 0) {
        return "setting the host name";
    }
    if (message_has(message, TAG_MACHINE_ID) && !write_machine_id(machine)) {
        return "writing /etc/machine-id";
    }
    return NULL;
}

bool renew(struct agent *agent, struct bytes payload) {
    struct message message;
    uint64_t clock_ns = 0;
    char host[NAME_CAPACITY] = "", machine[NAME_CAPACITY] = "";
    if (!harness_is_ready(&agent->harness) || !message_read(payload, &message) ||
        message.values[TAG_NONCE].length != NONCE_BYTES || message.values[TAG_ENTROPY].length > ENTROPY_BYTES_MOST ||
        !message_integer(&message, TAG_CLOCK_NS, &clock_ns) ||
        !bytes_to_text(message.values[TAG_HOSTNAME], host, sizeof host) ||
        !bytes_to_text(message.values[TAG_MACHINE_ID], machine, sizeof machine)) {
        return false;
    }
    const char *failed = carry_out(&message, clock_ns, host, machine);
    if (failed != NULL) {
        reply_error(agent, 0, "io", failed, errno);
        return true;
    }
    const uint8_t *nonce = message.values[TAG_NONCE].at;
    bool rehearses = message_has(&message, TAG_REHEARSE);
    if (rehearses) {
        rehearse(agent);
    }
    if (rehearses || (message_has(&message, TAG_ENTROPY) && !message_has(&message, TAG_KEEP))) {
        harness_renew(agent, nonce, rehearses);
    } else {
        reply_renewed(agent, nonce);
    }
    return true;
}
