"""Processes followed by pidfd: a handle that can never name another process, and whose end can be awaited."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from caisson.host.reserve import spending


class Followed:
    """One process, held by its pidfd. Must be closed; needs a running loop."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError if there is no such process."""
        self.pid = pid
        with spending():
            self._fd = os.pidfd_open(pid)
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._note_end)

    def kill(self) -> None:
        """Send SIGKILL; nothing happens if it has ended."""
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        if not self.ended and self._fd >= 0:
            try:
                signal.pidfd_send_signal(self._fd, number)
            except ProcessLookupError:
                # A zombie between its end and the loop's notice of it.
                return

    @property
    def ended(self) -> bool:
        """True once the loop has seen its end."""
        return self._ended.is_set()

    async def wait(self) -> None:
        """Return when it has ended. For the init of a pid namespace that means: and everything inside."""
        await self._ended.wait()

    def close(self) -> None:
        """Let go of the handle. Idempotent."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _note_end(self) -> None:
        self._loop.remove_reader(self._fd)
        self._ended.set()


def start_ticks(pid: int) -> int | None:
    """When the process began, in clock ticks since boot; None if there is none. Tells a reused pid from the old one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold spaces and parentheses of its own; proc(5) counts the start time as field 22.
    return int(stat.rpartition(")")[2].split()[19])
