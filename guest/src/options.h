/* The command line of the agent. */
#ifndef CAISSON_OPTIONS_H
#define CAISSON_OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

enum channel { CHANNEL_STDIO, CHANNEL_DEVICE, CHANNEL_VSOCK };

struct network {
    struct in_addr address;
    struct in_addr mask;
    struct in_addr gateway; /* answers names, too */
};

struct options {
    bool init; /* it is the init of a machine of its own: it mounts, and powers off at the end */
    const char *root; /* NULL: the root is as it is to be; else the block device of a read-only image */
    const char *disk; /* the block device for the writable layer above it; NULL: it is in memory */
    bool has_network;
    struct network network;
    enum channel channel;
    const char *device;
    uint32_t port;
    uint8_t nonce[NONCE_BYTES];
    const char *work;
    uid_t user;
    gid_t group;
    const char *cgroup; /* NULL: no control groups */
    uint32_t memory_mb; /* of each control group; 0: no limit */
    char **harness;     /* NULL: none */
};

/* False, with the reason on stderr, if the command line is not as docs/reference/guest-agent.md says. */
bool options_read(struct options *options, int argc, char **argv);

#endif
