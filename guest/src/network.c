#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "textfile.h"

#define CARD "eth0"
#define NAME_SERVERS "/etc/resolv.conf"

enum { CARD_TRIES = 400, CARD_PAUSE_NS = 5 * 1000 * 1000, PREFIX_MOST = 30 };

bool network_read(struct network *network, const char *text) {
    char copy[64];
    char *rest, *end;
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy || (rest = strchr(copy, '/')) == NULL) {
        return false;
    }
    *rest++ = '\0';
    long prefix = strtol(rest, &end, 10);
    if (end == rest || *end != ',' || prefix < 1 || prefix > PREFIX_MOST) {
        return false;
    }
    network->mask.s_addr = htonl(UINT32_MAX << (32 - prefix));
    return inet_pton(AF_INET, copy, &network->address) == 1 && inet_pton(AF_INET, end + 1, &network->gateway) == 1;
}

static struct ifreq card_with(struct in_addr address) {
    struct ifreq card = {.ifr_name = CARD};
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr = address};
    memcpy(&card.ifr_addr, &place, sizeof place);
    return card;
}

/* A driver that was loaded as a module finds its card a little later. */
static bool await_card(int fd, struct in_addr address) {
    const struct timespec pause = {.tv_nsec = CARD_PAUSE_NS};
    struct ifreq card = card_with(address);
    for (int i = 0; i < CARD_TRIES; i++) {
        if (ioctl(fd, SIOCSIFADDR, &card) == 0) {
            return true;
        }
        if (errno != ENODEV) {
            return false;
        }
        nanosleep(&pause, NULL);
    }
    return false;
}

static bool add_route(int fd, struct in_addr gateway) {
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    struct sockaddr_in any = {.sin_family = AF_INET}, next = {.sin_family = AF_INET, .sin_addr = gateway};
    memcpy(&route.rt_dst, &any, sizeof any);
    memcpy(&route.rt_genmask, &any, sizeof any);
    memcpy(&route.rt_gateway, &next, sizeof next);
    return ioctl(fd, SIOCADDRT, &route) == 0;
}

static bool configure(int fd, const struct network *network) {
    struct ifreq card = {.ifr_name = CARD, .ifr_flags = IFF_UP | IFF_RUNNING}, masked = card_with(network->mask);
    return await_card(fd, network->address) && ioctl(fd, SIOCSIFNETMASK, &masked) == 0 &&
           ioctl(fd, SIOCSIFFLAGS, &card) == 0 && add_route(fd, network->gateway);
}

/* An image may have a link here, to a place that is not there. */
static bool write_name_servers(struct in_addr server) {
    char text[INET_ADDRSTRLEN];
    if ((unlink(NAME_SERVERS) != 0 && errno != ENOENT) || inet_ntop(AF_INET, &server, text, sizeof text) == NULL) {
        return false;
    }
    int fd = open(NAME_SERVERS, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        return false;
    }
    bool done = dprintf(fd, "nameserver %s\noptions timeout:3 attempts:2\n", text) > 0;
    return close(fd) == 0 && done;
}

const char *network_up(const struct network *network) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return CARD;
    }
    /* The gate lets none of it through; a program need not find out by waiting. */
    text_write(AT_FDCWD, "/proc/sys/net/ipv6/conf/" CARD "/disable_ipv6", "1");
    bool done = configure(fd, network);
    int error = errno;
    close(fd);
    errno = error;
    if (!done) {
        return CARD;
    }
    return write_name_servers(network->gateway) ? NULL : NAME_SERVERS;
}
