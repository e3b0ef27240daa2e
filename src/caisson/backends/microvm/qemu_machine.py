"""One machine under QEMU."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import socket
from collections.abc import Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, BinaryIO

from caisson.backends.microvm.memory import copy_sparse, difference, write_into
from caisson.backends.microvm.qemu_command import CONSOLE_BYTES
from caisson.backends.microvm.qmp import Qmp
from caisson.backends.microvm.vmm import End, EndKind, Increment, IncrementRefused, Snapshot, VmmError
from caisson.host.jailed import Jailed
from caisson.host.pipes import Tail, pieces
from caisson.host.shield import uninterrupted

_STATE_BYTES = 16 << 20
"""Far more than the state of so few devices has."""
_IGNORE_SHARED = {"capability": "x-ignore-shared", "state": True}
_EVENTS = {"capability": "events", "state": True}
_LAST_WORDS_S = 2.0


class QemuMachine:
    """A `Machine`. Owns the process, both sockets and the pipe of QEMU's messages; must be closed."""

    def __init__(
        self, process: Jailed, qmp: socket.socket, agent: socket.socket, words: Tail, memory_fd: int | None
    ) -> None:
        """`memory_fd`: where the guest's memory lies, if this machine will be saved; stays the caller's."""
        self._process = process
        self._qmp = Qmp(qmp, self._on_event)
        self._agent = agent
        self._words = words
        self._memory_fd = memory_fd
        self._console = b""
        self._end: End | None = None
        self._stopped = asyncio.Event()
        self._migrated: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def pids(self) -> tuple[int, ...]:
        """See `Machine.pids`."""
        return self._process.pids

    async def open(self) -> None:
        """Wait until QEMU takes commands. Raises VmmError."""
        await self._qmp.open()

    async def connect(self) -> int:
        """See `Machine.connect`."""
        return self._agent.detach()

    async def pause(self) -> None:
        """See `Machine.pause`."""
        await self._qmp.execute("stop")

    async def resume(self) -> None:
        """See `Machine.resume`."""
        await self._qmp.execute("cont")

    async def save(self, folder: Path) -> None:
        """See `Machine.save`."""
        if self._memory_fd is None:
            raise VmmError("this machine was not booted to be saved")
        await self._qmp.execute("migrate-set-capabilities", capabilities=[_IGNORE_SHARED, _EVENTS])
        state = await self._read_state()
        # A thread that nobody waits for would go on with a descriptor that is another sandbox's by then.
        await uninterrupted(asyncio.to_thread(_write, folder, state, self._memory_fd))

    async def save_increment(self, since: Snapshot) -> Increment:
        """See `Machine.save_increment`."""
        memory = self._memory_fd
        if memory is None:
            raise VmmError("this machine was not loaded to be saved")
        state = await self._read_state()
        return Increment(state, await uninterrupted(asyncio.to_thread(difference, since.memory_fd, memory)))

    async def restore(self, snapshot: Snapshot) -> None:
        """Continue a saved machine up to where it was paused. Raises VmmError."""
        if snapshot.increment is not None:
            # Before its devices are: they look into the memory for how far their queues have come.
            work = asyncio.to_thread(write_into, self._process.pids[-1], snapshot.increment.pages)
            try:
                await uninterrupted(work)
            except PermissionError as error:
                raise IncrementRefused(f"the memory of a copy cannot be written: {error}") from error
            except (OSError, ValueError) as error:
                raise VmmError(f"the memory of a copy was not written: {error}") from error
        await self._qmp.execute("migrate-set-capabilities", capabilities=[_IGNORE_SHARED, _EVENTS])
        with _state(snapshot) as file:
            await self._qmp.hand_over(file.fileno(), "state")
        await self._qmp.execute("migrate-incoming", uri="fd:state")
        await self._migrated

    async def console(self) -> bytes:
        """See `Machine.console`."""
        with suppress(VmmError, binascii.Error):
            text = await self._qmp.execute(
                "ringbuf-read", timeout_s=_LAST_WORDS_S, device="console", size=CONSOLE_BYTES, format="base64"
            )
            self._console = (self._console + base64.b64decode(text))[-CONSOLE_BYTES:]
        return self._console

    async def wait(self) -> End:
        """See `Machine.wait`."""
        async with asyncio.TaskGroup() as tasks:
            told = tasks.create_task(self._stopped.wait())
            ended = tasks.create_task(self._process.wait())
            await asyncio.wait([told, ended], return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            ended.cancel()
        return self._end or End(EndKind.DIED, self._words.text)

    async def kill(self) -> None:
        """See `Machine.kill`."""
        await self._process.kill()

    async def close(self) -> None:
        """`kill`, and let go of what it owns. Once."""
        await self._process.close()
        self._qmp.close()
        self._agent.close()
        self._words.close()
        if not self._migrated.done():
            self._migrated.cancel()

    async def _read_state(self) -> bytes:
        """All that is not memory. Raises VmmError."""
        self._migrated = asyncio.get_running_loop().create_future()
        failure: BaseException | None = None
        read_fd, write_fd = os.pipe()
        try:
            try:
                await self._qmp.hand_over(write_fd, "state")
            finally:
                os.close(write_fd)
            async with asyncio.TaskGroup() as tasks:
                # In no thread, which a cancellation would leave reading from whatever has the pipe's number next.
                state = tasks.create_task(_read_all(read_fd))
                await self._qmp.execute("migrate", uri="fd:state")
                await self._migrated
        except* VmmError as group:
            failure = group.exceptions[0]
        finally:
            os.close(read_fd)
        if failure is not None:
            raise failure
        return state.result()

    def _on_event(self, name: str, data: Mapping[str, Any]) -> None:
        if name == "SHUTDOWN":
            kind = EndKind.RESET if "reset" in str(data.get("reason")) else EndKind.POWERED_OFF
            self._end = self._end or End(kind, self._words.text)
            self._stopped.set()
        elif name == "MIGRATION" and not self._migrated.done():
            if data.get("status") == "completed":
                self._migrated.set_result(None)
            elif data.get("status") == "failed":
                self._migrated.set_exception(VmmError(self._words.text or "the snapshot could not be read or written"))


def _state(snapshot: Snapshot) -> BinaryIO:
    """A file at whose beginning the state lies."""
    if snapshot.increment is None:
        return snapshot.state.open("rb")
    file = os.fdopen(os.memfd_create("caisson-state", os.MFD_CLOEXEC), "r+b", buffering=0)
    file.write(snapshot.increment.state)
    file.seek(0)
    return file


async def _read_all(fd: int) -> bytes:
    data = bytearray()
    async with aclosing(pieces(fd)) as arriving:
        async for piece in arriving:
            data += piece
            if len(data) > _STATE_BYTES:
                raise VmmError("the state of the machine is larger than it can be")
    return bytes(data)


def _write(folder: Path, state: bytes, memory_fd: int) -> None:
    (folder / "state").write_bytes(state)
    with (folder / "memory").open("wb") as memory:
        copy_sparse(memory_fd, memory.fileno())
