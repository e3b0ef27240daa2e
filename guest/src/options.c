#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "network.h"

enum { NOBODY = 65534 };

static bool read_number(const char *text, char **end, uint32_t *number) {
    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    unsigned long value = strtoul(text, end, 10);
    *number = (uint32_t)value;
    return errno == 0 && value < UINT32_MAX;
}

static bool read_channel(struct options *options, const char *text) {
    if (strcmp(text, "stdio") == 0) {
        options->channel = CHANNEL_STDIO;
        return true;
    }
    if (strncmp(text, "device:/", 8) == 0) {
        options->channel = CHANNEL_DEVICE;
        options->device = text + 7;
        return true;
    }
    char *end;
    if (strncmp(text, "vsock:", 6) == 0 && read_number(text + 6, &end, &options->port) && *end == '\0') {
        options->channel = CHANNEL_VSOCK;
        return true;
    }
    return false;
}

static bool read_nonce(struct options *options, const char *text) {
    if (strlen(text) != sizeof options->nonce * 2 || strspn(text, "0123456789abcdef") != strlen(text)) {
        return false;
    }
    for (size_t i = 0; i < sizeof options->nonce; i++) {
        const char digits[] = {text[2 * i], text[2 * i + 1], '\0'};
        options->nonce[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return true;
}

static bool read_user(struct options *options, const char *text) {
    char *end;
    return read_number(text, &end, &options->user) && *end == ':' && read_number(end + 1, &end, &options->group) &&
           *end == '\0';
}

static bool read_option(struct options *options, int name, const char *value) {
    char *end;
    switch (name) {
    case 'i':
        options->init = true;
        return true;
    case 'c':
        return read_channel(options, value);
    case 'n':
        return read_nonce(options, value);
    case 'w':
        options->work = value;
        return value[0] == '/';
    case 'u':
        return read_user(options, value);
    case 'g':
        options->cgroup = value;
        return value[0] == '/';
    case 'm':
        return read_number(value, &end, &options->memory_mb) && *end == '\0';
    case 'e':
        options->has_network = true;
        return network_read(&options->network, value);
    case 'r':
        options->root = value;
        return value[0] == '/';
    case 'd':
        options->disk = value;
        return value[0] == '/';
    default:
        return false;
    }
}

bool options_read(struct options *options, int argc, char **argv) {
    static const struct option names[] = {
        {"init", no_argument, NULL, 'i'},         {"channel", required_argument, NULL, 'c'},
        {"nonce", required_argument, NULL, 'n'},  {"work", required_argument, NULL, 'w'},
        {"user", required_argument, NULL, 'u'},   {"cgroup", required_argument, NULL, 'g'},
        {"root", required_argument, NULL, 'r'},   {"network", required_argument, NULL, 'e'},
        {"memory", required_argument, NULL, 'm'}, {"disk", required_argument, NULL, 'd'},   {"harness", required_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){.work = "/work", .user = getuid(), .group = getgid()};
    if (options->user == 0) {
        options->user = NOBODY;
        options->group = NOBODY;
    }
    bool has_nonce = false;
    opterr = 1;
    for (int name; (name = getopt_long(argc, argv, "+", names, NULL)) != -1;) {
        if (name == 'h') {
            /* Not `--`: the kernel stops reading the arguments of init at the second one of those. */
            options->harness = argv + optind - 1;
            break;
        }
        if (!read_option(options, name, optarg)) {
            if (name != '?') {
                fprintf(stderr, "caisson-agent: %s is no value for this option\n", optarg);
            }
            return false;
        }
        has_nonce |= name == 'n';
    }
    if (options->harness == NULL && optind != argc) {
        fprintf(stderr, "caisson-agent: unexpected argument %s\n", argv[optind]);
        return false;
    }
    /* It powers off what it is the init of, which must not be the machine of whoever tries it out. */
    if (options->init && getpid() != 1) {
        fprintf(stderr, "caisson-agent: --init is for process 1 of a machine\n");
        return false;
    }
    if (!has_nonce) {
        fprintf(stderr, "caisson-agent: --nonce is missing\n");
    }
    return has_nonce;
}
