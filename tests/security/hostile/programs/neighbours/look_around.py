# Tries to see the workload beside it: processes, arguments, environments, files, sockets, System V memory.
# gvisor, microvm: denied
import os

from attempt import attempt, empty, read

mine = {os.getpid(), os.getppid()}
for pid in sorted(int(each) for each in os.listdir("/proc") if each.isdigit()):
    for name in ("environ", "cmdline"):
        if pid not in mine and pid != 1:
            attempt(f"{pid} {name}", lambda pid=pid, name=name: b"neighbour" in read(f"/proc/{pid}/{name}") or empty())
for path in ("/proc/sysvipc/shm", "/proc/sysvipc/msg", "/proc/sysvipc/sem"):
    attempt(path, lambda path=path: read(path).splitlines()[1])
attempt("sockets", lambda: b"caisson" in read("/proc/net/unix") or empty())
attempt("tmp", lambda: next(iter(os.listdir("/tmp"))))
