# Tries to reach what the host reaches: its own addresses, its private networks, its gateway, its services.
# With: network=egress
# gvisor: denied
import os
import socket

from attempt import at_once

gateways = []
for line in open("/proc/net/route").read().splitlines()[1:]:
    number = int(line.split()[2], 16)
    gateways.append(socket.inet_ntoa(number.to_bytes(4, "little")))
places = os.environ["HOST_ADDRESSES"].split(",") + gateways + ["10.1.2.3", "172.16.5.5", "192.168.7.7", "100.64.1.1"]
ports = (int(os.environ["HOST_PORT"]), 80)
at_once(
    {
        f"{place}:{port}": lambda place=place, port=port: socket.create_connection((place, port), 1).recv(100)
        for place in places
        for port in ports
    }
)
