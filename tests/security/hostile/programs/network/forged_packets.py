# Tries to send packets as if they came from somebody else, and to hear those of others.
# With: network=egress
# gvisor: denied
import socket

from attempt import attempt

attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
attempt("packets", lambda: socket.socket(17, socket.SOCK_RAW, 0x0300))
led = socket.socket()
led.settimeout(1)
plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
attempt("transparent", lambda: plain.setsockopt(0, 19, 1) or plain.bind(("1.2.3.4", 0)))
attempt("another's address", lambda: socket.socket().bind(("80.0.0.2", 0)))
attempt("route around", lambda: led.setsockopt(0, 4, b"\x83\x07\x04\x0a\x09\x00\x01") or led.connect(("10.9.0.1", 80)))
attempt(
    "broadcast",
    lambda: plain.setsockopt(1, 6, 1) or (plain.sendto(b"x", ("255.255.255.255", 67)) and plain.recv(1, 0x40)),
)
