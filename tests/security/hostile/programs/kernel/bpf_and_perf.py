# Tries to load programs into the kernel and to count what others do: bpf, perf events, probes, tracing.
# gvisor, microvm: denied
import ctypes
import struct

from attempt import attempt, read, syscall

for command in (0, 5, 12, 13, 18):
    attempt(f"bpf {command}", lambda command=command: syscall(321, command, ctypes.create_string_buffer(128), 128))
for kind in range(5):
    attributes = struct.pack("IIQQ", kind, 120, 0, 0) + bytes(96)
    for pid, cpu in ((0, -1), (-1, 0)):
        attempt(
            f"perf {kind} {pid}",
            lambda a=attributes, p=pid, c=cpu: syscall(298, ctypes.create_string_buffer(a), p, c, -1, 0),
        )
attempt("symbols", lambda: int(read("/proc/kallsyms").split()[0], 16) or 1 / 0)
attempt("tracing", lambda: read("/sys/kernel/tracing/available_events"))
