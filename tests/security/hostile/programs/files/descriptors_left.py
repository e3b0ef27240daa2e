# Tries every descriptor it was started with: a folder or a socket left open by accident would be a way out.
# gvisor, microvm: denied
import os
import socket
import stat

from attempt import attempt

for fd in range(1024):
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        continue
    if stat.S_ISDIR(mode):
        attempt(f"folder {fd}", lambda fd=fd: os.open(os.environ["HOST_FILE"].lstrip("/"), os.O_RDONLY, dir_fd=fd))
        attempt(f"above {fd}", lambda fd=fd: os.listdir(f"/proc/self/fd/{fd}/../../.."))
    if stat.S_ISSOCK(mode):
        asked = socket.socket(fileno=os.dup(fd))
        asked.settimeout(0.2)
        attempt(f"passes {fd}", lambda asked=asked: socket.recv_fds(asked, 16, 4)[1][0])
    if stat.S_ISBLK(mode):
        attempt(f"disk {fd}", lambda fd=fd: os.pread(fd, 16, 0))
attempt("nothing", lambda: os.fstat(1023))
