"""A program that stands in for Firecracker where there is no KVM: its API, its pipes and its sockets, and no machine.

`firecracker_program.py MODE ARGUMENTS…` in the folder that would be the jail's root. It is for faults, and for what
must hold of processes and files whatever the machine does; machines themselves are tested in the lab.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.helpers.firecracker import FakeFirecracker, reply

RAM_BYTES = 4 << 20
METRICS = (
    '{"vcpu":{"failures":1},"uart":{"rate_limiter_dropped_bytes":2},"api_server":{"process_startup_time_cpu_us":0}}'
)


def write(fifo: str, text: str) -> None:
    """As Firecracker does: without ever waiting for a reader."""
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    os.write(fd, text.encode())
    # Stays open, as Firecracker's does.


def save(hostile: bool) -> None:
    """Write a snapshot, or what a guest that broke out would rather have the host read."""
    Path("memory").write_bytes(bytes(RAM_BYTES - 4096) + b"x" * 4096)
    if hostile:
        Path("state").symlink_to("/etc/passwd")
    else:
        Path("state").write_bytes(b"state")


class Program(FakeFirecracker):
    """Acts on what it is asked."""

    mode = "well"

    async def act(self) -> bytes | None:
        asked = self.asked[-1]
        if asked.path == "/actions" and asked.body["action_type"] == "InstanceStart":
            if self.mode == "refuses":
                return reply(400, b'{"fault_message":"KVM is not for you"}')
            write("console.fifo", "booting\n")
            if self.mode == "resets":
                asyncio.get_running_loop().call_later(0.05, os._exit, 0)
            await asyncio.start_unix_server(echo, "v.sock")
        if asked.path == "/actions" and asked.body["action_type"] == "FlushMetrics":
            write("metrics.fifo", METRICS + "\n")
        if asked.path == "/snapshot/create":
            save(hostile=self.mode == "hostile")
        return None


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The guest's agent."""
    await reader.readline()
    writer.write(b"OK 5\n")
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


async def main(mode: str) -> None:
    """Serve until killed."""
    write("log.fifo", "a word for the log\n")
    if mode == "dies":
        sys.exit("no such device")
    program = Program(Path("api.sock"))
    program.mode = mode
    if mode == "silent":
        program.delay_s = 3600
    await asyncio.start_unix_server(program.serve, "api.sock")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
