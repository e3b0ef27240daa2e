# Tries to have as many processes as it can, and to leave them behind.
# With: mem_mb=64, timeout_s=60
# gvisor, microvm: bounded 1024 or out_of_memory
import os
import time

from attempt import how_many


def fork():
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)


how_many("processes", fork)
