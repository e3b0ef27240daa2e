"""Carries out a job whose program is compiled first, in the sandbox that then runs it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace

import msgspec

from caisson.errors import SandboxCrashed
from caisson.model import Stream
from caisson.sandbox.agent import run
from caisson.sandbox.channel import Channel
from caisson.sandbox.contract import Event, Exited, Job, Output, Raised, Result
from caisson.sandbox.launch import Launch, Program
from caisson.sandbox.protocol import Exit
from caisson.sandbox.runtimes.go import BINARY_PATH, EXCEPTION_MARK
from caisson.sandbox.runtimes.launching import launch, launch_build

MOST_BINARY_BYTES = 256 << 20
_MOST_TEXT_BYTES = 64 * 1024
_READ_BYTES = 1 << 20
_DISK_FULL = b"no space left on device"
_BUILD_STREAM = 1
_RUN_STREAM = 2


def source_digest(job: Job, toolchain: str) -> str:
    """What a compiled program is known by: its files, and a name of the toolchain. Reads the archive."""
    parts = hashlib.sha256(toolchain.encode())
    for name, data in sorted({**job.files, "": job.entrypoint.encode()}.items()):
        parts.update(b"%d %d " % (len(name.encode()), len(data)) + name.encode() + data)
    if job.archive is not None:
        with job.archive.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                parts.update(piece)
    return parts.hexdigest()


async def run_compiled(
    channel: Channel,
    job: Job,
    env: Mapping[str, str],
    *,
    binary: bytes | None,
    on_binary: Callable[[bytes], None],
    limited: Callable[[Launch], Launch] = lambda launch: launch,
    on_exit: Callable[[Exit], None] | None = None,
    on_death: Callable[[], Awaitable[Exited | None]] | None = None,
) -> AsyncGenerator[Event, None]:
    """Like `agent.run`, for a job of go: compile, unless `binary` is what an earlier compilation made, then run.

    `on_binary` gets what was compiled here. It came out of a sandbox in which only this job's compiler ran, and may be
    kept for the same sources and the same toolchain (`source_digest`), and for nothing else. Text of the compiler is
    on stderr; if it refuses the code, that is `invalid_code`. `limited` sets the limits of either.
    """
    start = limited(launch(job, env))
    stream = _BUILD_STREAM
    if binary is not None:
        start = replace(start, programs=(*start.programs, Program(BINARY_PATH, binary)))
    else:
        built: list[bytes] = []
        async with aclosing(_build(channel, job, limited(launch_build(job, env)), built, on_death)) as events:
            async for event in events:
                yield event
                if isinstance(event, Exited):
                    return
        on_binary(built[0])
        job = replace(job, files={}, archive=None)
        stream = _RUN_STREAM
    async with aclosing(run(channel, job, start, stream=stream, on_exit=on_exit, on_death=on_death)) as events:
        async for event in events:
            if isinstance(event, Result) and event.data.startswith(EXCEPTION_MARK):
                yield _exception(event.data.removeprefix(EXCEPTION_MARK))
            else:
                yield event


async def _build(
    channel: Channel,
    job: Job,
    compiler: Launch,
    built: list[bytes],
    on_death: Callable[[], Awaitable[Exited | None]] | None,
) -> AsyncGenerator[Event, None]:
    """Compile: what it says, and `Exited` only if that failed."""
    said, end = b"", Exited()
    quiet = replace(
        job, stdin=b"", resources=msgspec.structs.replace(job.resources, max_output_bytes=MOST_BINARY_BYTES)
    )
    events = run(channel, quiet, compiler, stream=_BUILD_STREAM, on_death=on_death)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Output):
                said = (said + event.data)[:_MOST_TEXT_BYTES]
                yield Output(Stream.STDERR, event.data)
            elif isinstance(event, Result):
                built.append(event.data)
            elif isinstance(event, Raised):
                yield event
            else:
                end = event
    if end.code == 0 and built:
        return
    if end.code == 0:
        raise SandboxCrashed("the compiler ended well and left no program")
    if end.code is not None and not end.out_of_memory:
        text = said.decode("utf-8", "replace").strip()
        yield Raised("disk_full" if _DISK_FULL in said else "invalid_code", text, text)
    yield end


def _exception(text: bytes) -> Raised:
    """What a compiled function says of its end; it may say anything."""
    try:
        said = json.loads(text)
        kind, message, trace = (str(said[name]) for name in ("kind", "message", "trace"))
    except (ValueError, TypeError, KeyError, RecursionError):
        return Raised("InvalidOutput", "the function's account of its end cannot be read", "")
    return Raised(kind, message, trace)
