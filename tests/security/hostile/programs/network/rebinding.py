# Tries to be led to the host by a name: one that means a private address, and names that mean numbers.
# With: network=egress
# gvisor: denied
import os
import socket

from attempt import at_once

NAMES = ["rebound.example", "loop.example", "meta.example", "localhost", "0", "127.1", "0x7f.1", "2130706433"]
at_once(
    {
        f"{name}:{port}": lambda name=name, port=port: socket.create_connection((name, port), 1).recv(100)
        for name in NAMES
        for port in (80, int(os.environ["HOST_PORT"]))
    }
)
