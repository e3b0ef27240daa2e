# Tries to be larger than the disk with files full of holes, and to map them.
# With: mem_mb=64, disk_mb=16
# gvisor, microvm: denied or own
import mmap
import os

from attempt import attempt

fd = os.open("sparse", os.O_CREAT | os.O_RDWR)
attempt("long", lambda: os.ftruncate(fd, 1 << 42) or os.fstat(fd).st_blocks)
attempt("mapped", lambda: len(mmap.mmap(fd, 1 << 34)))
attempt("allocated", lambda: os.posix_fallocate(fd, 0, 1 << 36))
