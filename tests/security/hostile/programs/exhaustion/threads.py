# Tries to have as many threads as it can.
# With: mem_mb=128, timeout_s=60
# gvisor, microvm: bounded 1024 or out_of_memory
import os
import threading
import time

from attempt import how_many

threading.stack_size(1 << 16)
how_many("threads", lambda: threading.Thread(target=time.sleep, args=(600,), daemon=True).start())
os._exit(0)
