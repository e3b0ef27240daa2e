# Tries to talk to a service of the host without having a network.
# gvisor, microvm: denied
import os
import socket

from attempt import attempt

PORT = int(os.environ["HOST_PORT"])
for place in os.environ["HOST_ADDRESSES"].split(",") + ["::1", "::ffff:127.0.0.1", "localhost", "0.0.0.0", "10.0.2.2"]:
    attempt(place, lambda place=place: socket.create_connection((place, PORT), 1).recv(100))
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagram.settimeout(0.2)
attempt("datagram", lambda: datagram.sendto(b"?", ("127.0.0.1", PORT)) and datagram.recv(10))
