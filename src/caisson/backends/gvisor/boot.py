"""Boots a sandbox to READY, and undoes all of it afterwards."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from caisson.backends.gvisor.bundle import World, write_bundle
from caisson.backends.gvisor.control import connect
from caisson.backends.gvisor.processes import Processes, enter
from caisson.backends.gvisor.sandbox import GvisorSandbox, waiting_limits
from caisson.backends.leftovers import remove_folder, write_state
from caisson.errors import StartFailed
from caisson.host.cgroup import CgroupError, Group
from caisson.host.pipes import enlarge
from caisson.host.process import CommandFailed, start
from caisson.host.shield import Teardown
from caisson.sandbox.channel import Channel, ChannelClosed
from caisson.sandbox.contract import SandboxSpec
from caisson.sandbox.protocol import NONCE_BYTES, ProtocolError

logger = structlog.get_logger(__name__)

KEPT_LOGS = 16
"""Logs of failed starts that are kept, the newest."""
_EMPTY_S = 5.0
_WORDS_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """What the backend gives one sandbox to live in."""

    id: str
    folder: Path
    group: Group
    kept_logs: Path
    """Where its logs go if it does not start."""


@asynccontextmanager
async def boot(
    place: Place, spec: SandboxSpec, world: World, command: Sequence[str], timeout_s: float
) -> AsyncIterator[GvisorSandbox]:
    """A READY sandbox. Leaving the context kills it, verifies its death and removes all it had. Raises StartFailed.

    `command` is the call of runsc, complete but for the sandbox's id.
    """
    teardown = Teardown()
    try:
        try:
            sandbox = await _boot(place, spec, world, command, timeout_s, teardown)
        except (OSError, CgroupError, CommandFailed) as error:
            raise StartFailed("the sandbox did not start", detail=f"{place.id}: {error}") from error
        yield sandbox
    finally:
        await teardown.close()


async def _boot(
    place: Place, spec: SandboxSpec, world: World, command: Sequence[str], timeout_s: float, teardown: Teardown
) -> GvisorSandbox:
    teardown.push(lambda: remove_folder(place.folder))
    # Both before anything can fail, since the group is there already.
    teardown.push(lambda: place.group.end(_EMPTY_S))
    for folder in (place.folder, place.folder / "state", place.folder / "logs"):
        folder.mkdir(mode=0o711)
    place.group.limit(waiting_limits(spec))
    nonce = secrets.token_bytes(NONCE_BYTES)
    write_bundle(place.folder, world, nonce.hex())
    channel, processes = _launch(place, [*enter(place.group), *command, place.id], teardown)
    write_state(place.folder, processes.pids, place.group.paths)
    try:
        await channel.handshake(nonce, timeout_s)
        processes.look()
    except (TimeoutError, ProtocolError, ChannelClosed) as error:
        code = await _code(processes)
        await processes.kill()
        detail = f"{place.id}: {error or 'not ready in time'}: {_words(place.folder)} (exit code {code})"
        raise StartFailed("the sandbox did not start", detail=f"{detail}; log: {_keep_logs(place)}") from error
    write_state(place.folder, processes.pids, place.group.paths)
    sandbox = GvisorSandbox(place.id, spec, processes, channel, place.group, place.folder)
    teardown.push(sandbox.close)
    sandbox.use(connect(place.id, place.folder / "state", sandbox.heard))
    return sandbox


def _launch(place: Place, command: Sequence[str], teardown: Teardown) -> tuple[Channel, Processes]:
    """Start runsc with the channel as the agent's stdin and stdout."""
    with ExitStack() as inherited:
        stderr = os.open(place.folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        inherited.callback(os.close, stderr)
        stdin_read, stdin_write = os.pipe()
        inherited.callback(os.close, stdin_read)
        try:
            stdout_read, stdout_write = os.pipe()
        except OSError:
            os.close(stdin_write)
            raise
        inherited.callback(os.close, stdout_write)
        enlarge(stdout_read)
        channel = Channel(stdout_read, stdin_write)
        teardown.push(channel.close)
        outer = start(command, stdin=stdin_read, stdout=stdout_write, stderr=stderr)
    processes = Processes(outer)
    teardown.push(processes.close)
    return channel, processes


async def _code(processes: Processes) -> int | None:
    """The exit code of a runsc that ends by itself; None if it hangs."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            return await processes.wait()
    return None


def _words(folder: Path) -> str:
    """What runsc wrote on stderr, for the log."""
    with suppress(OSError), (folder / "stderr").open("rb") as file:
        return file.read(_WORDS_BYTES).decode("utf-8", "replace").strip()
    return ""


def _keep_logs(place: Place) -> Path:
    """Move the logs of a sandbox that did not start to where they stay, and let go of the oldest."""
    target = place.kept_logs / place.id
    with suppress(OSError):
        place.kept_logs.mkdir(mode=0o700, exist_ok=True)
        (place.folder / "logs").rename(target)
        shutil.copyfile(place.folder / "stderr", target / "stderr.txt")
        kept = sorted(place.kept_logs.iterdir(), key=lambda each: each.stat().st_mtime)
        for old in kept[:-KEPT_LOGS]:
            shutil.rmtree(old)
    return target
