"""Boots a sandbox to READY, and undoes all of it afterwards."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog

from caisson.backends.isolate.files import make_folder
from caisson.backends.isolate.guest import Guest
from caisson.backends.isolate.jail import PIDS, Place, launch_command, seccomp_pipe, total_bytes
from caisson.backends.isolate.sandbox import DEFAULT_CPUS, IsolateSandbox
from caisson.backends.leftovers import remove_folder, write_state, write_user
from caisson.errors import StartFailed
from caisson.host.cgroup import CgroupError, Limits
from caisson.host.jailed import Jailed, JailNotBuilt
from caisson.host.pidfd import Followed
from caisson.host.pipes import Feeder, Fifos, enlarge
from caisson.host.process import CommandFailed, start
from caisson.host.shield import Teardown, uninterrupted
from caisson.sandbox.channel import SAID_BYTES, Channel, ChannelClosed
from caisson.sandbox.contract import SandboxSpec
from caisson.sandbox.protocol import NONCE_BYTES, FrameType, ProtocolError

logger = structlog.get_logger(__name__)

_EMPTY_S = 5.0


@asynccontextmanager
async def boot(place: Place, spec: SandboxSpec, guest: Guest, timeout_s: float) -> AsyncIterator[IsolateSandbox]:
    """A READY sandbox. Leaving the context kills it, verifies its death and removes all it had. Raises StartFailed."""
    teardown = Teardown()
    try:
        try:
            sandbox = await _boot(place, spec, guest, timeout_s, teardown)
        except (OSError, CgroupError, CommandFailed) as error:
            raise StartFailed("the sandbox did not start", detail=f"{place.id}: {error}") from error
        yield sandbox
    finally:
        await teardown.close()


async def _boot(place: Place, spec: SandboxSpec, guest: Guest, timeout_s: float, teardown: Teardown) -> IsolateSandbox:
    teardown.push(lambda: remove_folder(place.folder))
    # Both before anything can fail, since the group is there already.
    teardown.push(lambda: place.group.end(_EMPTY_S))
    make_folder(place.folder)
    write_user(place.folder, place.uid)
    place.group.limit(Limits(cpus=DEFAULT_CPUS, mem_bytes=total_bytes(spec), pids=PIDS))
    fifos, channel = _open_channel(place, teardown)
    nonce = secrets.token_bytes(NONCE_BYTES)
    jailed, stdin = _launch(place, spec, guest, nonce, channel, teardown)
    try:
        async with asyncio.timeout(timeout_s):
            inner = await jailed.inner()
            with _seen_to_die(inner, fifos):
                # The guest boots meanwhile, and will not begin with user code before it is told to.
                await uninterrupted(asyncio.to_thread(place.group.attach, inner.pid))
                await channel.handshake(nonce, timeout_s)
    except (TimeoutError, ProtocolError, ChannelClosed, JailNotBuilt, CgroupError) as error:
        await jailed.kill()
        why = f"not ready within {timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
        raise StartFailed("the sandbox did not start", detail=await _last_words(place, channel, why)) from error
    fifos.connected()
    write_state(place.folder, jailed.pids, place.group.paths)
    return IsolateSandbox(place, spec, jailed, inner, channel, stdin)


@contextmanager
def _seen_to_die(guest: Followed, fifos: Fifos) -> Iterator[None]:
    """Have the channel end with its guest, which may die before it has opened its ends of the FIFOs."""

    async def release() -> None:
        await guest.wait()
        fifos.release()

    watching = asyncio.get_running_loop().create_task(release())
    try:
        yield
    finally:
        watching.cancel()


def _open_channel(place: Place, teardown: Teardown) -> tuple[Fifos, Channel]:
    fifos = Fifos(place.folder / "channel", os.getuid() if place.uid is None else place.uid)
    teardown.push(fifos.release)
    channel = Channel(fifos.read_fd, fifos.write_fd)
    teardown.push(channel.close)
    return fifos, channel


def _launch(
    place: Place, spec: SandboxSpec, guest: Guest, nonce: bytes, channel: Channel, teardown: Teardown
) -> tuple[Jailed, Feeder]:
    """Start the chain. The host's ends of its pipes are closed by `teardown`, the others once they are inherited."""
    inherited: list[int] = []
    info_fd = -1
    try:
        for type in (FrameType.STDOUT, FrameType.STDERR):
            read_fd, write_fd = os.pipe()
            inherited.append(write_fd)
            enlarge(read_fd)
            channel.attach_plain(read_fd, type)
        read_fd, write_fd = os.pipe()
        inherited.append(read_fd)
        stdin = Feeder(write_fd)
        teardown.push(stdin.close)
        info_fd, write_fd = os.pipe()
        inherited.append(write_fd)
        inherited.append(seccomp_pipe())
        stdout, stderr, stdin_read, info_write, seccomp = inherited
        chain = launch_command(place, spec, guest, nonce.hex(), seccomp_fd=seccomp, info_fd=info_write)
        namespaces = [] if place.stage.namespace_fd is None else [place.stage.namespace_fd]
        outer = start(
            chain,
            stdin=stdin_read,
            stdout=stdout,
            stderr=stderr,
            pass_fds=[info_write, seccomp, *namespaces],
            own_group=True,
        )
    except (OSError, CommandFailed):
        if info_fd >= 0:
            os.close(info_fd)
        raise
    finally:
        for fd in inherited:
            os.close(fd)
    jailed = Jailed(outer, info_fd)
    teardown.push(jailed.close)
    return jailed, stdin


async def _last_words(place: Place, channel: Channel, why: str) -> str:
    """Why there is no sandbox, and what the chain wrote before it failed, for the log."""
    words = channel.said
    async with asyncio.timeout(_EMPTY_S):
        while len(words) < SAID_BYTES and (frames := await channel.remainder()):
            words += b"".join(frame.payload for frame in frames)
    said = words[-SAID_BYTES:].decode("utf-8", "replace").strip()
    return f"{place.id}: {why}: {said}" if said else f"{place.id}: {why}"
