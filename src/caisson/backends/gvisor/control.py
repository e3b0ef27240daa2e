"""The sentry's control socket, asked for one thing: what memory the sandbox holds, by what it is for.

A control group cannot tell a program's memory from its files, because both are memory of the sentry; the sentry can.
What it says is about hostile code, but said by gVisor: if it is late or nonsense, it is taken as nothing said.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_REQUEST = b'{"method":"Usage.Collect","arg":{"Full":true}}'
_MOST_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes a sandbox holds: `memory` for its programs, `files` in what it may write to."""

    memory: int
    files: int


class Control:
    """One connection. Must be closed; needs a running loop."""

    def __init__(self, connection: socket.socket, heard: Callable[[Held], None]) -> None:
        self._connection = connection
        self._heard = heard
        self._answer = b""
        self._asked = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection, self._read)

    def ask(self) -> None:
        """Ask, if the answer before has come; `heard` is called with the next one."""
        if self._asked or self._connection.fileno() < 0:
            return
        try:
            self._asked = self._connection.send(_REQUEST) == len(_REQUEST)
        except OSError:
            self.close()

    def close(self) -> None:
        """Ask no more. Idempotent."""
        if self._connection.fileno() >= 0:
            self._loop.remove_reader(self._connection)
            self._connection.close()

    def _read(self) -> None:
        try:
            data = self._connection.recv(_MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._answer += data
        if not data or len(self._answer) > _MOST_BYTES:
            self.close()
            return
        try:
            found = json.loads(self._answer)["result"]
            held = Held(found["Anonymous"] + found["System"], found["Tmpfs"])
        except (ValueError, KeyError, TypeError):
            # Not yet whole, or not what was asked for; the latter never gets whole.
            return
        self._answer = b""
        self._asked = False
        self._heard(held)


def connect(id: str, state: Path, heard: Callable[[Held], None]) -> Control | None:
    """Reach the sentry of the sandbox `id`; None where this runsc cannot be reached so."""
    # Older builds listen on an abstract name, which ends in a zero byte; newer ones on a socket in their state folder.
    descriptor = -1
    try:
        descriptor = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for address in (f"\0runsc-sandbox.{id}\0", f"/proc/self/fd/{descriptor}/runsc-{id}.sock"):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            try:
                connection.connect(address)
                return Control(connection, heard)
            except OSError:
                connection.close()
    except OSError:
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return None
