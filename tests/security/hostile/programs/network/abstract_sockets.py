# Tries to reach sockets that are no files: abstract names of the host's own network namespace.
# gvisor, microvm: denied
import os
import socket

from attempt import attempt


def connect(address, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_UNIX, kind) as connection:
        connection.settimeout(1)
        connection.connect(address)
        return connection.recv(100)


attempt("of the host", lambda: connect("\0" + os.environ["HOST_SOCKET"]))
attempt("bus", lambda: connect("/run/dbus/system_bus_socket"))
attempt("journal", lambda: connect("/run/systemd/journal/socket", socket.SOCK_DGRAM))
attempt("docker", lambda: connect("/var/run/docker.sock"))
attempt("a file of the host", lambda: connect(os.environ["HOST_FOLDER"] + "/socket"))
for line in open("/proc/net/unix").read().splitlines()[1:]:
    name = line.split()[7:]
    if name:
        attempt(name[0], lambda name=name[0]: connect(name.replace("@", "\0", 1)))
