# Tries to make devices and to read from them: disks, memory, ports, the kernel's log, KVM, FUSE, loops.
# gvisor, microvm: denied
import os
import stat

from attempt import attempt


def make(name, kind, major, minor):
    os.mknod(f"/tmp/{name}", kind | 0o666, os.makedev(major, minor))
    return os.read(os.open(f"/tmp/{name}", os.O_RDONLY | os.O_NONBLOCK), 16)


for name, kind, major, minor in [
    ("disk", stat.S_IFBLK, 8, 0),
    ("virtual disk", stat.S_IFBLK, 254, 0),
    ("loop", stat.S_IFBLK, 7, 0),
    ("memory", stat.S_IFCHR, 1, 1),
    ("ports", stat.S_IFCHR, 1, 4),
    ("log", stat.S_IFCHR, 1, 11),
    ("kvm", stat.S_IFCHR, 10, 232),
    ("fuse", stat.S_IFCHR, 10, 229),
    ("tun", stat.S_IFCHR, 10, 200),
]:
    attempt(f"make {name}", lambda each=(name, kind, major, minor): make(*each))
for path in ["mem", "kmem", "port", "kmsg", "kvm", "fuse", "sda", "vda", "nvme0n1", "loop0", "net/tun", "vhost-vsock"]:
    attempt(f"open {path}", lambda path=path: os.read(os.open(f"/dev/{path}", os.O_RDWR | os.O_NONBLOCK), 16))
