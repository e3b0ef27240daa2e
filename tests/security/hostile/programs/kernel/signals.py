# Tries to end everything it can: each process it sees, the first one, a process of the host, and all at once.
# gvisor, microvm: denied or exit_nonzero or exception
import os
import signal

from attempt import attempt

attempt("of the host", lambda: os.kill(int(os.environ["HOST_PID"]), signal.SIGKILL) or "sent")
attempt("the first", lambda: os.kill(1, signal.SIGKILL) or "sent")
os.kill(-1, signal.SIGKILL)
