# Looks for what the workload before it, of another tenant, left behind.
# gvisor, microvm: denied
import ctypes

from attempt import attempt, empty, read, syscall

for folder in ("/tmp", "/work", "/dev/shm", "/var/tmp", "/run", "/mnt", "/home", "/etc", "/caisson", "/usr/local/bin"):
    attempt(folder, lambda folder=folder: read(f"{folder}/left"))
attempt("key", lambda: syscall(249, b"user", b"caisson-left", 0, 0))
attempt("shared memory", lambda: syscall(29, 0x4C454654, 0, 0))
attempt("queue", lambda: syscall(68, 0x4C454654, 0))
attempt("of init", lambda: b"mark-" in read("/proc/1/environ") or empty())


def fresh():
    """Pages of memory as they come: they must be empty."""
    size = 48 << 20
    page = ctypes.CDLL(None).malloc
    page.restype = ctypes.c_void_p
    text = ctypes.string_at(page(size), size)
    return text[text.find(b"mark-") :][:40] if b"mark-" in text else empty()


attempt("memory", fresh)
