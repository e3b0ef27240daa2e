# Tries to make sockets that see or forge other people's packets, and of families with a history of holes.
# gvisor, microvm: denied
import socket

from attempt import attempt

FAMILIES = dict(ax25=3, ipx=4, x25=9, rose=11, decnet=12, key=15, packet=17, rds=21, can=29, tipc=30, bluetooth=31)
FAMILIES |= dict(ieee802154=36, caif=37, alg=38, nfc=39, kcm=41, qipcrtr=42, smc=43, xdp=44, mctp=45)
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("raw udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
attempt("raw six", lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))
attempt("packet raw", lambda: socket.socket(17, socket.SOCK_RAW, 0x0300))
for name, family in FAMILIES.items():
    for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_RAW):
        attempt(f"{name} {kind}", lambda family=family, kind=kind: socket.socket(family, kind))
