# Tries to reach the host through the socket that machines and their hosts have between them.
# gvisor, microvm: denied
import socket

from attempt import attempt


def connect(cid, port):
    with socket.socket(40, socket.SOCK_STREAM) as connection:
        connection.settimeout(0.5)
        connection.connect((cid, port))
        return connection.recv(10)


for cid in (0, 1, 2, 3):
    for port in (1, 22, 52, 1024, 5000):
        attempt(f"{cid}:{port}", lambda cid=cid, port=port: connect(cid, port))
