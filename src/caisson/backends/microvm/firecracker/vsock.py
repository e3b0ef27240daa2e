"""Reaches a port of the guest through the unix socket that stands for Firecracker's vsock device.

The host writes `CONNECT PORT`, and Firecracker answers `OK` with a port of its own once the guest has accepted; where
nobody listens it closes the connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from caisson.backends.microvm.firecracker.root import Root
from caisson.backends.microvm.vmm import VmmError

_ANSWER_BYTES = 32
_RETRY_S = 0.004


async def dial(root: Root, name: str, port: int, ended: Callable[[], bool]) -> socket.socket:
    """A stream to the port, as soon as somebody listens there. Raises VmmError for nonsense, and once `ended`."""
    while not ended():
        try:
            client = root.connect(name)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            await asyncio.sleep(_RETRY_S)
            continue
        try:
            if await _agreed(client, port):
                return client
        except BaseException:
            client.close()
            raise
        client.close()
        await asyncio.sleep(_RETRY_S)
    raise VmmError("Firecracker ended before the agent listened")


async def _agreed(client: socket.socket, port: int) -> bool:
    loop = asyncio.get_running_loop()
    answer = b""
    try:
        await loop.sock_sendall(client, b"CONNECT %d\n" % port)
        # Byte by byte, for what follows the line is the guest's.
        while not answer.endswith(b"\n"):
            piece = await loop.sock_recv(client, 1)
            if not piece:
                return False
            answer += piece
            if len(answer) > _ANSWER_BYTES:
                break
    except (ConnectionResetError, BrokenPipeError):
        return False
    word, _, number = answer.strip().partition(b" ")
    if word != b"OK" or not number.isdigit():
        raise VmmError(f"Firecracker answered {answer!r} to CONNECT")
    return True
