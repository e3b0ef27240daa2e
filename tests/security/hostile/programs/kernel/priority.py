# Tries to take the processor from others: real-time scheduling, a better nice value, locked memory, huge pages.
# gvisor: denied or own
# microvm: denied
import mmap
import os

from attempt import attempt, syscall

attempt("nice", lambda: os.nice(-20))
attempt("fifo", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99)))
attempt("io class", lambda: syscall(251, 1, 0, (1 << 13)))
attempt("locked", lambda: syscall(151, 3) or mmap.mmap(-1, 1 << 28))
attempt("huge", lambda: mmap.mmap(-1, 1 << 21, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000))
