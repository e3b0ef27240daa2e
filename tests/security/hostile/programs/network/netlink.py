# Tries to give itself a network: devices, addresses and routes by netlink and by ioctl.
# gvisor, microvm: denied
import fcntl
import socket
import struct

from attempt import attempt


def ask(kind, flags, body, protocol=0):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as link:
        link.settimeout(1)
        link.bind((0, 0))
        link.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        answer = link.recv(4096)
        code = struct.unpack_from("=i", answer, 16)[0]
        if code < 0:
            raise OSError(-code, "")
        return answer[:20]


ifinfo = struct.pack("=BxHiII", 0, 0, 0, 1, 1)
attempt("new device", lambda: ask(16, 0x605, ifinfo + struct.pack("=HH4s", 8, 3, b"evl\0")))
attempt(
    "new address",
    lambda: ask(20, 0x605, struct.pack("=BBBBI", 2, 24, 0, 0, 1) + struct.pack("=HH4s", 8, 2, b"\x0a\x09\0\x01")),
)
attempt("new route", lambda: ask(24, 0x605, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0)))
attempt("firewall", lambda: ask(0xA00, 5, struct.pack("=BBH", 0, 0, 0), 12))
attempt("audit", lambda: ask(1000, 5, bytes(4), 9))
plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for name, number in (("up", 0x8914), ("address", 0x8916), ("hardware", 0x8924), ("name", 0x8923)):
    attempt(name, lambda number=number: fcntl.ioctl(plain, number, b"lo".ljust(16, b"\0") + bytes(24)))
