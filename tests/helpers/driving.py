"""Drives a real agent by the host driver, as the backends do."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caisson.errors import SandboxError
from caisson.model import Resources, Runtime
from caisson.sandbox.agent import run
from caisson.sandbox.channel import Channel
from caisson.sandbox.contract import Event, Job
from caisson.sandbox.launch import ENVIRONMENT, Launch
from caisson.sandbox.protocol import Exit
from tests.helpers.shown import Shown

PATIENCE_S = 30


@dataclass(slots=True)
class Drove(Shown):
    """What a run of an agent showed."""

    exit: Exit | None = None


def job(files: Mapping[str, str | bytes] | None = None, *, input: object = None, **rest: Any) -> Job:
    """A job of these files."""
    contents = {name: text.encode() if isinstance(text, str) else text for name, text in (files or {}).items()}
    rest.setdefault("resources", Resources())
    rest.setdefault("runtime", Runtime.BASH)
    rest.setdefault("entrypoint", next(iter(contents), "main"))
    return Job("job", files=contents, input=json.dumps(input).encode(), **rest)


@asynccontextmanager
async def agent_channel(
    agent: Path, *arguments: str | Path, env: Mapping[str, str] = ENVIRONMENT
) -> AsyncIterator[Channel]:
    """A channel to an agent that is READY; the agent is gone when the context is left."""
    ours, theirs = socket.socketpair()
    nonce = secrets.token_bytes(16)
    process = await asyncio.create_subprocess_exec(
        agent, "--nonce", nonce.hex(), *arguments, stdin=theirs.fileno(), stdout=theirs.fileno(), env=env
    )
    theirs.close()
    fd = ours.detach()
    channel = Channel(fd, os.dup(fd))
    try:
        await channel.handshake(nonce, PATIENCE_S)
        yield channel
    finally:
        channel.close()
        await asyncio.wait_for(process.wait(), PATIENCE_S)


async def drive(channel: Channel, job: Job, launch: Launch, look: Callable[[Event], None] | None = None) -> Drove:
    """All that comes of a job."""
    drove = Drove()

    def note(exit: Exit) -> None:
        drove.exit = exit

    try:
        async with asyncio.timeout(PATIENCE_S):
            async for event in run(channel, job, launch, on_exit=note):
                drove.events.append(event)
                if look is not None:
                    look(event)
    except SandboxError as error:
        drove.failure = error
    return drove


def drive_agent(agent: Path, arguments: Sequence[str | Path], job: Job, launch: Launch) -> Drove:
    """`drive` on an agent of its own, in a loop of its own."""

    async def main() -> Drove:
        async with agent_channel(agent, *arguments) as channel:
            return await drive(channel, job, launch)

    return asyncio.run(main())
