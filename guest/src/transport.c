#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "kernel.h"

static bool set_nonblocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static int listen_on(uint32_t port) {
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_port = port, .svm_cid = VMADDR_CID_ANY};
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

bool transport_open(struct transport *transport, const struct options *options) {
    *transport = (struct transport){.channel = options->channel, .listener = -1, .input = -1, .output = -1};
    switch (options->channel) {
    case CHANNEL_STDIO:
        return set_nonblocking(STDIN_FILENO) && set_nonblocking(STDOUT_FILENO);
    case CHANNEL_DEVICE:
        transport->listener = open(options->device, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        return transport->listener >= 0;
    case CHANNEL_VSOCK:
        transport->listener = listen_on(options->port);
        return transport->listener >= 0;
    }
    return false;
}

static bool has_peer(int device) {
    struct pollfd state = {.fd = device, .events = POLLOUT};
    return poll(&state, 1, 0) >= 0 && (state.revents & (POLLHUP | POLLERR)) == 0;
}

bool transport_connect(struct transport *transport) {
    switch (transport->channel) {
    case CHANNEL_STDIO:
        transport->input = STDIN_FILENO;
        transport->output = STDOUT_FILENO;
        break;
    case CHANNEL_DEVICE:
        if (has_peer(transport->listener)) {
            transport->input = transport->listener;
            transport->output = transport->listener;
        }
        break;
    case CHANNEL_VSOCK:
        transport->input = accept4(transport->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        transport->output = transport->input;
        break;
    }
    return transport->input >= 0;
}

int transport_listener(const struct transport *transport) {
    /* A virtio port without a host polls as hung up all the time, so waiting on it would be a busy loop. */
    return transport->channel == CHANNEL_VSOCK ? transport->listener : -1;
}

ssize_t transport_read(struct transport *transport, uint8_t *at, size_t count) {
    ssize_t received = read(transport->input, at, count);
    if (received > 0) {
        return received;
    }
    return received < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

bool transport_lost(struct transport *transport) {
    if (transport->channel == CHANNEL_VSOCK) {
        close(transport->input);
    }
    transport->input = -1;
    transport->output = -1;
    return transport->channel != CHANNEL_STDIO;
}
