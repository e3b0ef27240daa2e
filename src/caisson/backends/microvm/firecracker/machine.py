"""One machine under Firecracker."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from caisson.backends.microvm.firecracker import counters
from caisson.backends.microvm.firecracker.api import Api
from caisson.backends.microvm.firecracker.plan import MEMORY, PORT, STATE, VSOCK, saving
from caisson.backends.microvm.firecracker.root import Root
from caisson.backends.microvm.firecracker.vsock import dial
from caisson.backends.microvm.memory import copy_sparse
from caisson.backends.microvm.vmm import End, EndKind, Increment, Snapshot, VmmError
from caisson.host.jailed import Jailed
from caisson.host.pipes import Tail
from caisson.host.shield import uninterrupted

logger = structlog.get_logger(__name__)

CONSOLE_BYTES = 64 * 1024
LOG_BYTES = 16 * 1024
METRICS_BYTES = 256 * 1024
"""Several times one set of them."""
CONNECT_TIMEOUT_S = 30.0
MAX_STATE_BYTES = 64 << 20
_METRICS_TIMEOUT_S = 1.0
_SHOWN_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Words:
    """What Firecracker and its guest say, each the last bytes of it."""

    output: Tail
    """Of the jail's programs and of Firecracker itself, before it has a log."""
    log: Tail
    metrics: Tail
    console: Tail

    @property
    def last(self) -> str:
        """The log, or what was said instead of one."""
        return (self.log.text or self.output.text)[-_SHOWN_CHARS:]

    def close(self) -> None:
        """Stop reading. Idempotent."""
        for tail in (self.output, self.log, self.metrics, self.console):
            tail.close()


class FirecrackerMachine:
    """A `Machine`. Its process, folder and words belong to whoever made it."""

    def __init__(
        self, process: Jailed, api: Api, root: Root, words: Words, *, ram_mb: int, to_save: bool, running: bool
    ) -> None:
        """`to_save`: it will be paused in order to be saved. `running`: it is not a loaded one that waits."""
        self._process = process
        self._api = api
        self._root = root
        self._words = words
        self._ram_bytes = ram_mb << 20
        self._to_save = to_save
        self._running = running
        self._killed = False
        self._stopped = False

    @property
    def pids(self) -> tuple[int, ...]:
        """See `Machine.pids`."""
        return self._process.pids

    async def connect(self) -> int:
        """See `Machine.connect`."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                client = await dial(self._root, VSOCK, PORT, lambda: self._process.ended)
        except TimeoutError as error:
            raise VmmError(f"the agent did not listen within {CONNECT_TIMEOUT_S:g} s") from error
        except OSError as error:
            raise VmmError(f"the vsock device's socket: {error.strerror}") from error
        return client.detach()

    async def pause(self) -> None:
        """See `Machine.pause`.

        A machine that only waits is stopped as a process. After a pause and resume of its own, without a snapshot
        between them, Firecracker 1.16 hands nothing more to the guest's sockets (its pull request 6100).
        """
        if self._to_save:
            await self._api.pause()
        else:
            (await self._process.inner()).send(signal.SIGSTOP)
            self._stopped = True

    async def resume(self) -> None:
        """See `Machine.resume`."""
        if self._to_save or not self._running:
            await self._api.resume()
            self._running = True
        else:
            (await self._process.inner()).send(signal.SIGCONT)
            self._stopped = False

    async def save(self, folder: Path) -> None:
        """See `Machine.save`."""
        await self._api.save(saving())
        # Copied, and not moved: this Firecracker could still write to its own files, and writes pages of zeros as such.
        for name, limit in ((STATE, MAX_STATE_BYTES), (MEMORY, self._ram_bytes)):
            # To its end: the jail and both folders are going to be removed.
            await uninterrupted(asyncio.to_thread(_take, self._root, name, folder / name, limit))

    async def save_increment(self, since: Snapshot) -> Increment:
        """See `Machine.save_increment`."""
        raise NotImplementedError("Firecracker is not asked for increments")

    async def console(self) -> bytes:
        """See `Machine.console`."""
        return self._words.console.data

    async def metrics(self) -> Mapping[str, Any]:
        """Firecracker's own counters since it told them last, by device; empty if it does not tell them in time.

        One that is stopped tells none.
        """
        told = counters.sets_in(await self._told())
        return told[-1] if told else {}

    async def account(self, name: str) -> None:
        """Before its end: have its counters in the server's metrics, and its log in the server's log."""
        counted = counters.report(await self._told())
        if said := self._words.log.text[-_SHOWN_CHARS:]:
            logger.warning("what Firecracker logged", machine=name, log=said, **counted)
        elif counted:
            logger.debug("what Firecracker counted", machine=name, **counted)

    async def _told(self) -> bytes:
        if not self._stopped and not self._process.ended:
            with suppress(VmmError, TimeoutError):
                async with asyncio.timeout(_METRICS_TIMEOUT_S):
                    # They are in the pipe when this is answered.
                    await self._api.flush_metrics()
        return self._words.metrics.data

    async def wait(self) -> End:
        """See `Machine.wait`."""
        code = await self._process.wait()
        if code == 0 and not self._killed:
            # Firecracker ends well only when the guest resets the machine: it has no power switch.
            return End(EndKind.RESET, self._words.last)
        return End(EndKind.DIED, self._words.last or f"Firecracker ended with {code}")

    async def kill(self) -> None:
        """See `Machine.kill`."""
        self._killed = True
        await self._process.kill()


def _take(root: Root, name: str, target: Path, limit: int) -> None:
    """Copy a file out of the jail."""
    source = root.open(name)
    try:
        if os.fstat(source).st_size > limit:
            raise VmmError(f"{name} in the jail is larger than it can be")
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            copy_sparse(source, fd)
            # Whatever the umask is: a jailed Firecracker opens these as a user of its own.
            os.fchmod(fd, 0o644)
        finally:
            os.close(fd)
    finally:
        os.close(source)
        root.remove(name)
