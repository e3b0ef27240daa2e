"""The only place that starts processes: scrubbed environment, drained pipes, failures that can be pasted."""

from __future__ import annotations

import asyncio
import os
import resource
import shlex
import signal
import subprocess
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from io import FileIO

import structlog

from caisson.errors import CaissonError
from caisson.host.birthmark import own_mark
from caisson.host.pidfd import Followed
from caisson.host.pipes import make_pipes, pieces
from caisson.host.shield import uninterrupted

logger = structlog.get_logger(__name__)

SAFE_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
"""What a helper program gets instead of the server's environment, which may hold secrets."""


class CommandFailed(CaissonError):
    """A helper program could not be started, took too long, or ended with a code other than 0."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a finished command left: its exit code (negative: the signal) and the first bytes of each output."""

    argv: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def command(self) -> str:
        """The command as a line that can be pasted."""
        return shlex.join(self.argv)


class Process:
    """A started program. It is killed, and reaped, at the latest when its `spawn` context is left."""

    def __init__(self, popen: subprocess.Popen[bytes], argv: Sequence[str]) -> None:
        self.argv = tuple(argv)
        self.pid = popen.pid
        self._popen = popen
        self._followed = Followed(popen.pid)
        self.peak_bytes = 0
        """The most memory that it, or one that it waited for, had mapped, files among it; known once it has ended.

        0 where that was less than this process has had: until it executes its program it is this process to the kernel.
        """

    async def wait(self) -> int:
        """Its exit code, or the negative number of the signal that ended it."""
        await self._followed.wait()
        if self._popen.returncode is None:
            # Where somebody else was faster, subprocess knows what to make of it.
            with suppress(ChildProcessError):
                _, status, used = os.wait4(self.pid, 0)  # noqa: ASYNC222 - it has ended
                self._popen.returncode = os.waitstatus_to_exitcode(status)
                if used.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
                    self.peak_bytes = used.ru_maxrss * 1024
        return self._popen.wait()

    @property
    def ended(self) -> bool:
        """True once it has ended."""
        return self._followed.ended

    async def until_ended(self) -> None:
        """Return when it has ended, and is still to be waited for: its number is its own until then."""
        await self._followed.wait()

    def kill(self) -> None:
        """Send SIGKILL; nothing happens if it has ended."""
        self._followed.kill()

    def signal_group(self, number: signal.Signals) -> None:
        """Signal all that is in the process group it leads, also when it has ended itself, up to `wait`."""
        if self._popen.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def close(self) -> None:
        """Kill it, see it end, and let go of it."""
        self.kill()
        await self.wait()
        self._followed.close()


def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] = SAFE_ENV,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    pass_fds: Collection[int] = (),
    own_group: bool = False,
) -> Process:
    """Start a program, which the caller must `close`; raises CommandFailed if it cannot be started.

    Its environment is `env` and this run's mark. The descriptors given stay the caller's. With `own_group` it leads a
    process group, whose id is its own: a signal to that reaches all that it starts, and one that it sends there not us.
    """
    # Started on the loop's own thread on purpose: PR_SET_PDEATHSIG (bwrap --die-with-parent) fires when the *thread*
    # that forked ends, see prctl(2). vfork makes this a matter of a millisecond.
    try:
        popen = subprocess.Popen(  # noqa: S603 - argv is made by us, and no shell is involved
            argv,
            env={**env, **own_mark()},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(pass_fds),
            process_group=0 if own_group else None,
        )
    except OSError as error:
        raise _not_started(argv, error) from error
    try:
        return Process(popen, argv)
    except OSError as error:
        # No descriptor was left to hold it by.
        popen.kill()
        popen.wait()
        raise _not_started(argv, error) from error


def _not_started(argv: Sequence[str], error: OSError) -> CommandFailed:
    logger.error("command did not start", command=shlex.join(argv), error=str(error))
    return CommandFailed(f"{argv[0]} could not be started: {error.strerror}", detail=shlex.join(argv))


@asynccontextmanager
async def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] = SAFE_ENV,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    pass_fds: Collection[int] = (),
    own_group: bool = False,
) -> AsyncIterator[Process]:
    """`start` a program that is killed, and seen to end, when the context is left."""
    process = start(argv, env=env, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds, own_group=own_group)
    try:
        yield process
    finally:
        await uninterrupted(process.close())


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] = SAFE_ENV,
    input: bytes = b"",
    timeout_s: float = 30,
    max_output_bytes: int = 1 << 20,
    check: bool = True,
    pass_fds: Collection[int] = (),
) -> Completed:
    """Run a helper program to its end and collect its output, the first `max_output_bytes` of each stream.

    Raises CommandFailed if it cannot start, takes longer than `timeout_s`, or (with `check`) fails.
    """
    async with AsyncExitStack() as stack:
        stdin = stack.enter_context(_file_of(input)) if input else None
        pipes = make_pipes(2)
        readers = [stack.enter_context(FileIO(read_fd)) for read_fd, _ in pipes]
        try:
            process = await stack.enter_async_context(
                spawn(
                    argv,
                    env=env,
                    stdin=stdin.fileno() if stdin else subprocess.DEVNULL,
                    stdout=pipes[0][1],
                    stderr=pipes[1][1],
                    pass_fds=pass_fds,
                )
            )
        finally:
            for _, write_fd in pipes:
                os.close(write_fd)
        try:
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as tasks:
                outputs = [tasks.create_task(_drain(reader, max_output_bytes)) for reader in readers]
                code = await process.wait()
        except TimeoutError as error:
            logger.error("command took too long", command=shlex.join(argv), timeout_s=timeout_s)
            raise CommandFailed(f"{argv[0]} took longer than {timeout_s:g} s", detail=shlex.join(argv)) from error
    completed = Completed(tuple(argv), code, outputs[0].result(), outputs[1].result())
    if check and code != 0:
        text = completed.stderr.decode("utf-8", "replace").strip()
        logger.error("command failed", command=completed.command, code=code, stderr=text[-4000:])
        raise CommandFailed(f"{argv[0]} failed with code {code}: {text[-1000:]}", detail=f"{completed.command}\n{text}")
    return completed


def _file_of(data: bytes) -> FileIO:
    """A file in memory to be read from its beginning: unlike a pipe it takes any amount without a reader."""
    file = FileIO(os.memfd_create("stdin"), "r+")
    try:
        with memoryview(data) as rest:
            written = 0
            while written < len(rest):
                written += file.write(rest[written:])
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


async def _drain(pipe: FileIO, limit: int) -> bytes:
    """Read to the end of a pipe, keeping the first `limit` bytes: a full pipe would stop the program."""
    kept = bytearray()
    async with aclosing(pieces(pipe.fileno())) as arriving:
        async for data in arriving:
            kept += data[: limit - len(kept)]
    return bytes(kept)
