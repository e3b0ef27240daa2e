"""A workload's state on the terminal in the moments when its program is silent."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Self, TextIO

from caisson.cli.terminal import console, write_line

if TYPE_CHECKING:
    from rich.status import Status as RichStatus

    from caisson.client import Client, Workload

QUIET_S = 0.4
"""The spinner shows when nothing was written for this long."""
POLL_S = 1.0


class Spinner:
    """Turned on by a thread in quiet moments, off by every line. Does nothing where stderr is no terminal."""

    def __init__(self, client: Client, workload: Workload) -> None:
        self._client = client
        self._workload = workload
        self._began = self._last_write = time.monotonic()
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._shown: RichStatus | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            # A daemon, never joined: a poll of a server that went away must not hold up the end of the command.
            threading.Thread(target=self._spin, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self._hide()

    def write(self, stream: TextIO, line: str) -> None:
        """Write one line of the program with the spinner out of its way."""
        with self._lock:
            self._hide()
            write_line(stream, line)
            self._last_write = time.monotonic()

    def _spin(self) -> None:
        next_poll = self._began + POLL_S
        while not self._ended.wait(QUIET_S / 2):
            now = time.monotonic()
            if now - self._last_write >= QUIET_S:
                if now >= next_poll:
                    self._poll()
                    next_poll = now + POLL_S
                self._show(f"{self._workload.status} · {now - self._began:.0f} s")

    def _poll(self) -> None:
        from caisson.client import ClientError

        try:
            self._workload = self._client.get(self._workload.id)
        except (ClientError, RuntimeError):  # RuntimeError: the client was closed; the command has ended
            return

    def _show(self, text: str) -> None:
        with self._lock:
            if self._ended.is_set() or time.monotonic() - self._last_write < QUIET_S:
                return
            if self._shown is None:
                self._shown = console(stderr=True).status(text)
                self._shown.start()
            else:
                self._shown.update(text)

    def _hide(self) -> None:
        with self._lock:
            if self._shown:
                self._shown.stop()
                self._shown = None
