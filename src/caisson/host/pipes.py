"""Pipes of which this process holds one end and a sandbox the other."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import chain
from pathlib import Path

PIPE_BYTES = 256 * 1024
READ_BYTES = 64 * 1024


class Feeder:
    """Writes bytes into a descriptor in the background, then closes it. Owns the descriptor; needs a running loop."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._unsent = memoryview(b"")
        self._loop = asyncio.get_running_loop()
        os.set_blocking(fd, False)

    def feed(self, data: bytes) -> None:
        """Begin to write `data`, all there is. A reader that goes away ends it quietly: nobody need read its input."""
        self._unsent = memoryview(data)
        self._write()

    def close(self) -> None:
        """Close the descriptor, whatever is left to write. Idempotent."""
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _write(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
        except BlockingIOError:
            self._loop.add_writer(self._fd, self._write)
            return
        except OSError:
            self._unsent = memoryview(b"")
        self.close()


class Fifos:
    """Two named pipes in a folder: `in` is what the sandbox reads, `out` what it writes.

    Until the sandbox has opened its ends, this process holds those too: opening a FIFO for writing fails without a
    reader, and reading one without a writer looks like its end, see fifo(7).
    """

    def __init__(self, folder: Path, owner: int) -> None:
        """Make them, for `owner` alone."""
        paths = [folder / "in", folder / "out"]
        for path in paths:
            os.mkfifo(path, 0o600)
            os.chown(path, owner, owner)
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        opened: list[int] = []
        try:
            for path, mode in zip(paths * 2, (os.O_RDWR, os.O_RDWR, os.O_WRONLY, os.O_RDONLY), strict=True):
                opened.append(os.open(path, mode | flags))
        except OSError:
            for fd in opened:
                os.close(fd)
            raise
        *self._theirs, self.write_fd, self.read_fd = opened
        self._paths = paths
        enlarge(self.read_fd)

    def connected(self) -> None:
        """The sandbox has opened both: from now on its end is seen as the end, and nobody can open them again."""
        for path in self._paths:
            path.unlink()
        self.release()

    def release(self) -> None:
        """Close the ends held for the sandbox; the others are their taker's. Idempotent."""
        while self._theirs:
            os.close(self._theirs.pop())


def make_pipes(count: int) -> list[tuple[int, int]]:
    """So many pipes, each a reading and a writing end, or none where descriptors run out. Raises OSError."""
    made: list[tuple[int, int]] = []
    try:
        while len(made) < count:
            made.append(os.pipe())
    except OSError:
        for fd in chain.from_iterable(made):
            os.close(fd)
        raise
    return made


async def readable(fd: int) -> None:
    """Return when reading from `fd` would not block."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def pieces(fd: int) -> AsyncGenerator[bytes]:
    """What arrives in a pipe until its last writer is gone. The descriptor stays the caller's, and is not to be closed
    before this has ended.

    A loop's own `connect_read_pipe` is not to be used: uvloop (0.22) closes its descriptor twice, the second time
    maybe what another thread has opened under the same number.
    """
    os.set_blocking(fd, False)
    while True:
        await readable(fd)
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            continue
        if not data:
            return
        yield data


def enlarge(fd: int) -> None:
    """Let a pipe hold more, so that a chatty program and its reader change turns less often."""
    with suppress(OSError):  # an unprivileged user has a budget for pipes; a small pipe works as well
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


class Tail:
    """Reads a pipe in the background, so that its writer never waits, and keeps the last bytes. Owns the descriptor."""

    def __init__(self, fd: int, keep_bytes: int = 4096) -> None:
        self._fd = fd
        self._keep_bytes = keep_bytes
        self._kept = b""
        self._loop = asyncio.get_running_loop()
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)

    @property
    def data(self) -> bytes:
        """What was written last."""
        if self._fd >= 0:
            self._read()
        return self._kept

    @property
    def text(self) -> str:
        """The same, to be read by people."""
        return self.data.decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Stop reading. Idempotent."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._kept = (self._kept + data)[-self._keep_bytes :]
        else:
            self.close()
