# Leaves traces wherever a later workload might look; what looks for them comes after it, for another tenant.
# gvisor, microvm: own
import ctypes
import os

from attempt import attempt, syscall, write

mark = os.environ["MARK"]
for folder in ("/tmp", "/work", "/dev/shm", "/var/tmp", "/run", "/mnt", "/home", "/etc", "/caisson", "/usr/local/bin"):
    attempt(folder, lambda folder=folder: write(f"{folder}/left", mark))
attempt("key", lambda: syscall(248, b"user", b"caisson-left", mark.encode(), len(mark), -4))
memory = attempt("shared memory", lambda: syscall(29, 0x4C454654, 4096, 0o1666))
address = ctypes.CDLL(None).shmat
address.restype = ctypes.c_void_p
if memory is not None:
    ctypes.memmove(address(memory, None, 0), mark.encode(), len(mark))
attempt("queue", lambda: syscall(68, 0x4C454654, 0o1666))
kept = [bytearray(mark.encode() * 1000) for _ in range(1000)]
