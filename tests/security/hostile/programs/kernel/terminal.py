# Tries to type into a terminal that somebody else reads, and to make one its own.
# gvisor, microvm: denied
import fcntl
import os

from attempt import attempt

TIOCSTI, TIOCSCTTY, TIOCLINUX = 0x5412, 0x540E, 0x541C
attempt("own terminal", lambda: os.open("/dev/tty", os.O_RDWR))
for fd in range(3):
    attempt(f"type into {fd}", lambda fd=fd: fcntl.ioctl(fd, TIOCSTI, b"x"))
    attempt(f"own {fd}", lambda fd=fd: fcntl.ioctl(fd, TIOCSCTTY, 1))
    attempt(f"paste into {fd}", lambda fd=fd: fcntl.ioctl(fd, TIOCLINUX, b"\x03"))
for path in ("/dev/tty0", "/dev/tty1", "/dev/ttyS0", "/dev/hvc0", "/dev/console", "/dev/vport0p1"):
    attempt(path, lambda path=path: os.open(path, os.O_RDWR))
