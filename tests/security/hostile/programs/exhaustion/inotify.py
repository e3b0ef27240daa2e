# Tries to use up watches, timers, event descriptors and locks, which are counted for each user of the host.
# With: mem_mb=64, timeout_s=60
# gvisor, microvm: bounded 200000 or out_of_memory or completed
import ctypes
import fcntl
import os

from attempt import how_many, syscall

how_many("instances", lambda: syscall(294, 0), 2000)
for fd in range(900, 2100):
    try:
        os.close(fd)
    except OSError:
        continue
timer = ctypes.create_string_buffer(8)
how_many("timers", lambda: syscall(222, 1, 0, timer), 20_000)
how_many("events", lambda: os.eventfd(0), 2000)
os.closerange(600, 2100)
held = open("locked", "w")
held.truncate(100_000)
position = iter(range(0, 100_000, 2))
how_many("locks", lambda: fcntl.lockf(held, fcntl.LOCK_EX, 1, next(position)), 40_000)
