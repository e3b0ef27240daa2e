# Tries to mount: file systems over its own tools, the shared folder elsewhere, and to make the read-only writable.
# gvisor, microvm: denied
from attempt import attempt, syscall

MOUNT = 165
for source, target, kind, flags in [
    (b"none", b"/caisson", b"tmpfs", 0),
    (b"none", b"/caisson", 0, 32),
    (b"none", b"/", 0, 32),
    (b"/caisson", b"/tmp", 0, 4096),
    (b"proc", b"/mnt", b"proc", 0),
    (b"sysfs", b"/mnt", b"sysfs", 0),
    (b"/dev/vda", b"/mnt", b"erofs", 1),
    (b"host", b"/mnt", b"9p", 0),
    (b"none", b"/mnt", b"virtiofs", 0),
]:
    attempt(f"{source!r} on {target!r}", lambda s=source, t=target, k=kind, f=flags: syscall(MOUNT, s, t, k, f, 0))
attempt("unmount", lambda: syscall(166, b"/caisson", 2))
attempt("open tree", lambda: syscall(428, -100, b"/caisson", 1))
attempt("fsopen", lambda: syscall(430, b"tmpfs", 0))
attempt("move root", lambda: syscall(155, b"/tmp", b"/tmp"))
attempt("chroot", lambda: syscall(161, b"/tmp"))
