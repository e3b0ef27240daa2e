"""Inside the lab: runs one command after the other for the host, over a virtio-serial port.

A request is a line of JSON with `argv`, `cwd` and `env`. Answers are frames of a kind, a length and bytes: `o` output,
`x` the exit code, which is the last of a request.
"""

import json
import os
import struct
import subprocess
import time
from pathlib import Path

NAME = "lab"


def port() -> str:
    """The device of the port with our name."""
    for folder in Path("/sys/class/virtio-ports").iterdir():
        if (folder / "name").read_text().strip() == NAME:
            return f"/dev/{folder.name}"
    raise SystemExit(f"no virtio port is called {NAME}")


def write(fd: int, kind: bytes, data: bytes) -> None:
    """Send one frame."""
    rest = memoryview(kind + struct.pack(">I", len(data)) + data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def serve(fd: int) -> None:
    """Until the host goes away."""
    waiting = b""
    while True:
        while b"\n" not in waiting:
            piece = os.read(fd, 65536)
            if not piece:  # nobody is connected
                time.sleep(0.02)
            waiting += piece
        line, _, waiting = waiting.partition(b"\n")
        request = json.loads(line)
        ours, theirs = os.pipe()
        try:
            process = subprocess.Popen(
                request["argv"],
                cwd=request["cwd"],
                env=os.environ | request["env"],
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
            )
        except OSError as error:
            write(fd, b"o", f"{error}\n".encode())
            write(fd, b"x", b"127")
            os.close(ours)
            continue
        finally:
            os.close(theirs)
        while data := os.read(ours, 65536):
            write(fd, b"o", data)
        os.close(ours)
        write(fd, b"x", str(process.wait()).encode())


if __name__ == "__main__":
    device = os.open(port(), os.O_RDWR)
    write(device, b"h", b"lab 1")
    serve(device)
