# Tries to be told as a success that it is not: forges the messages of its harness and agent, then exits with 7.
# gvisor, microvm: denied or exit_nonzero or sandbox_crashed or exception
import os
import struct

for kind in range(256):
    for payload in (b"", b"null", b'{"code": 0}', struct.pack("<I", 0)):
        for order in ("<", ">"):
            for fd in range(3, 16):
                try:
                    os.set_blocking(fd, False)
                    os.write(fd, struct.pack(f"{order}IBI", len(payload), kind, 1) + payload)
                except OSError:
                    continue
os._exit(7)
