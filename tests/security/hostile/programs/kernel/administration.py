# Tries what only an administrator may: reboot, swap, accounting, the clock, the host's name, ports.
# gvisor, microvm: denied
import ctypes
import struct

from attempt import attempt, syscall

attempt("reboot", lambda: syscall(169, 0xFEE1DEAD, 672274793, 0x1234567, 0))
attempt("swapon", lambda: syscall(167, b"/tmp/swap", 0))
attempt("acct", lambda: syscall(163, b"/tmp/acct"))
attempt("clock", lambda: syscall(227, 0, ctypes.create_string_buffer(struct.pack("qq", 0, 0))))
attempt("settimeofday", lambda: syscall(164, ctypes.create_string_buffer(struct.pack("qq", 0, 0)), 0))
attempt("adjtimex", lambda: syscall(159, ctypes.create_string_buffer(struct.pack("I", 1) + bytes(204))))
attempt("hostname", lambda: syscall(170, b"evil", 4))
attempt("domain", lambda: syscall(171, b"evil", 4))
attempt("iopl", lambda: syscall(172, 3))
attempt("ioperm", lambda: syscall(173, 0x80, 1, 1))
attempt("quota", lambda: syscall(179, 0x80000100, b"/", 0, 0))
attempt("hang up", lambda: syscall(153))
attempt("fanotify", lambda: syscall(300, 0, 0))
attempt("lookup_dcookie", lambda: syscall(212, 0, 0, 0))
attempt("nfsservctl", lambda: syscall(180, 0, 0, 0))
