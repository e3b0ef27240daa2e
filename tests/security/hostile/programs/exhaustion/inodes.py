# Tries to use up memory and inodes by files with nothing in them.
# With: mem_mb=64, disk_mb=16, timeout_s=6
# gvisor, microvm: bounded 1000000 or out_of_memory or disk_full or timeout or sandbox_crashed
import os
from itertools import count

from attempt import how_many

numbers = count()
how_many("files", lambda: os.close(os.open(f"/tmp/{next(numbers)}", os.O_CREAT | os.O_WRONLY)))
