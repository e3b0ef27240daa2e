"""Starting programs: bounded output, clean failures, nobody left."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest

from caisson.host.process import CommandFailed, run, spawn, start


def test_output_is_collected_apart_and_capped() -> None:
    """Both streams are drained to their end, and the first bytes of each are kept."""
    script = "echo out; head -c 3000000 /dev/zero | tr '\\0' x; echo err >&2"
    completed = asyncio.run(run(["sh", "-c", script], max_output_bytes=10))
    assert (completed.code, completed.stdout, completed.stderr) == (0, b"out\nxxxxxx", b"err\n")


def test_a_failure_says_code_and_reason_and_can_be_pasted() -> None:
    """The user's text has what the program said, the log's the command line."""
    with pytest.raises(CommandFailed) as caught:
        asyncio.run(run(["sh", "-c", "echo 'no good' >&2; exit 3"]))
    assert "code 3" in caught.value.message
    assert "no good" in caught.value.message
    assert caught.value.detail.startswith("sh -c 'echo '")


def test_a_failure_can_be_the_callers_business() -> None:
    """Without `check` the code is only reported; a signal is negative."""
    assert asyncio.run(run(["sh", "-c", "kill -9 $$"], check=False)).code == -9


def test_a_missing_program_is_a_failure() -> None:
    """Not an OSError from somewhere deep."""
    with pytest.raises(CommandFailed, match="could not be started"):
        asyncio.run(run(["/nowhere/at/all"]))


def test_one_that_no_descriptor_is_left_for_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    def none_left(pid: int) -> int:
        begun.append(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def begin() -> None:
        monkeypatch.setattr(os, "pidfd_open", none_left)
        with pytest.raises(CommandFailed, match="Too many open files"):
            start(["sleep", "60"])

    asyncio.run(begin())
    with pytest.raises(ProcessLookupError):
        os.kill(begun[0], 0)


def test_where_descriptors_run_out_between_two_pipes_none_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    pipe = os.pipe

    def one_left() -> tuple[int, int]:
        if made:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        made.extend(pipe())
        return made[0], made[1]

    async def begin() -> None:
        monkeypatch.setattr(os, "pipe", one_left)
        with pytest.raises(OSError, match="Too many open files"):
            await run(["true"])
        monkeypatch.undo()
        for fd in made:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)

    asyncio.run(begin())
    assert len(made) == 2


def test_a_program_that_takes_too_long_is_ended() -> None:
    """The time limit holds, and the process is gone."""
    with pytest.raises(CommandFailed, match="longer than"):
        asyncio.run(run(["sleep", "60"], timeout_s=0.1))


def test_the_servers_environment_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets in the server's environment are nobody's business."""
    monkeypatch.setenv("CAISSON_SECRET", "hush")
    assert b"CAISSON_SECRET" not in asyncio.run(run(["env"])).stdout


def test_leaving_the_context_ends_the_process() -> None:
    """Also when it is left by a cancellation."""
    pids = []

    async def use() -> None:
        async with spawn(["sleep", "60"]) as process:
            pids.append(process.pid)
            await process.wait()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await use()

    asyncio.run(main())
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
