# Tries to change its own user, groups and capabilities, and to lift its own limits.
# gvisor, microvm: denied
import ctypes
import os
import resource
import struct

from attempt import attempt, syscall

attempt("user", lambda: os.setuid(0))
attempt("any user", lambda: os.setresuid(12345, 12345, 12345))
attempt("group", lambda: os.setgid(0))
attempt("groups", lambda: os.setgroups([0]))
attempt("file user", lambda: os.setresuid(-1, 0, -1))
header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
everything = ctypes.create_string_buffer(struct.pack("6I", *[0xFFFFFFFF] * 6))
attempt("capabilities", lambda: syscall(126, header, everything))
attempt("new privileges", lambda: syscall(157, 38, 0, 0, 0, 0))
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
if hard != resource.RLIM_INFINITY:
    attempt("processes", lambda: resource.setrlimit(resource.RLIMIT_NPROC, (hard + 1, hard + 1)))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
attempt("files", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1)))
