# Tries to use up the kernel's own memory, in pipes and sockets that nobody reads.
# With: mem_mb=64, timeout_s=60
# gvisor, microvm: bounded 4096 or out_of_memory
import fcntl
import os
import socket

from attempt import how_many

held = []


def pipe():
    held.append(os.pipe())
    fcntl.fcntl(held[-1][1], 1031, 1 << 20)
    os.set_blocking(held[-1][1], False)
    os.write(held[-1][1], bytes(1 << 20))


def pair():
    one, other = socket.socketpair()
    held.append((one, other))
    one.setblocking(False)
    one.send(bytes(1 << 16))


how_many("pipes", pipe)
held.pop()
how_many("sockets", pair)
