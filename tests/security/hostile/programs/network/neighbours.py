# Tries to reach other sandboxes and the links between them and the host.
# With: network=egress, timeout_s=30
# gvisor: denied
import socket
import threading

from attempt import attempt

lock = threading.Lock()


def knock(third, fourth):
    try:
        said = socket.create_connection((f"198.18.{third}.{fourth}", 80), 1).recv(100)
    except OSError:
        return
    with lock:
        print(f"got 198.18.{third}.{fourth}: {said!r}", flush=True)


for third in (0, 1, 255):
    knockers = [threading.Thread(target=knock, args=(third, fourth)) for fourth in range(0, 64)]
    for each in knockers:
        each.start()
    for each in knockers:
        each.join()
for place in ("192.0.0.1", "192.0.0.2", "192.0.0.8", "255.255.255.255", "224.0.0.1"):
    attempt(place, lambda place=place: socket.create_connection((place, 80), 0.5).recv(100))
