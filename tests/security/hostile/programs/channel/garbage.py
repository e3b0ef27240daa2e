# Tries to break the server by writing what is no message to everything that is open.
# gvisor, microvm: denied or sandbox_crashed or exit_nonzero or exception
import os

for fd in range(3, 256):
    for data in (b"\xff" * 4096, b"\0" * 4096, b"\x7f\xff\xff\xff" + b"A" * 64):
        try:
            os.set_blocking(fd, False)
            os.write(fd, data)
        except OSError:
            break
