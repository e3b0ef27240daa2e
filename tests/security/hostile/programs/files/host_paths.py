# Tries to read a file of the host that everybody there may read, by every path that could lead to it.
# gvisor, microvm: denied
import os

from attempt import attempt, read

path = os.environ["HOST_FILE"]
up = "/".join([".."] * 40)
for start in ["", up, f"/work/{up}", "/proc/1/root", "/proc/self/root", "/proc/1/cwd/" + up, "/proc/thread-self/root"]:
    attempt(f"{start[:20]}…file", lambda start=start: read(start + path))
attempt("shadow", lambda: read("/proc/1/root/etc/shadow"))
attempt("ssh keys", lambda: os.listdir("/root/.ssh"))
attempt("folder", lambda: os.listdir(os.environ["HOST_FOLDER"]))
attempt("writing", lambda: open(path, "a"))
