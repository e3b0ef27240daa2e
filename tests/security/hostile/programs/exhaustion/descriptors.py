# Tries to open as many files as it can, in several processes.
# With: mem_mb=128, timeout_s=60
# gvisor, microvm: bounded 1048576 or out_of_memory
import os

from attempt import how_many

for _ in range(3):
    os.fork()
how_many("files", lambda: os.open("/etc/passwd", os.O_RDONLY), 200_000)
