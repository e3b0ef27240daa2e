# Tries to take over other processes: the agent, the harness, whatever it can see.
# gvisor, microvm: denied
import ctypes
import os
import struct

from attempt import attempt, empty, read, syscall

PTRACE, PROCESS_VM_READV, KCMP, PIDFD_OPEN, PIDFD_GETFD = 101, 310, 312, 434, 438
buffer = ctypes.create_string_buffer(64)
here, there = struct.pack("QQ", ctypes.addressof(buffer), 64), struct.pack("QQ", 0x400000, 64)
others = [int(each) for each in os.listdir("/proc") if each.isdigit() and int(each) != os.getpid()]
for pid in others:
    try:
        owner = read(f"/proc/{pid}/status").split(b"Uid:")[1].split()[0]
    except OSError:
        continue  # it has ended since
    if owner == str(os.getuid()).encode():
        continue  # one's own are one's own
    attempt(f"attach {pid}", lambda pid=pid: syscall(PTRACE, 16, pid, 0, 0))
    attempt(f"seize {pid}", lambda pid=pid: syscall(PTRACE, 0x4206, pid, 0, 0))
    attempt(f"memory {pid}", lambda pid=pid: open(f"/proc/{pid}/mem", "r+b"))
    attempt(f"environment {pid}", lambda pid=pid: b"NEIGHBOUR" in read(f"/proc/{pid}/environ") or empty())
    attempt(f"descriptors {pid}", lambda pid=pid: syscall(PIDFD_GETFD, syscall(PIDFD_OPEN, pid, 0), 0, 0))
    attempt(f"read {pid}", lambda pid=pid: syscall(PROCESS_VM_READV, pid, here, 1, there, 1, 0) or empty())
attempt("of the host", lambda: read(f"/proc/{os.environ['HOST_PID']}/environ"))
