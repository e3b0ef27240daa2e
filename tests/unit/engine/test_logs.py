"""Logs: lines are cut, numbered, committed and read in order, exactly once, whatever arrives in whatever pieces."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.engine import logs
from caisson.engine.logs import LineAssembler, WorkloadLog
from caisson.model import LogLine, Stream
from caisson.store.errors import StoreError
from caisson.store.records import LogChunk


def assemble(*pieces: bytes) -> list[str]:
    assembler = LineAssembler()
    lines = [line for piece in pieces for line in assembler.feed(Stream.STDOUT, piece)]
    return [line.line for line in lines + assembler.flush()]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_any_cut_of_the_bytes_gives_the_same_lines(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    expected = data.decode("utf-8", "replace").split("\n")
    assert assemble(*pieces) == (expected if expected[-1] else expected[:-1])


def test_an_unfinished_last_line_is_kept() -> None:
    assert assemble(b"a\nb") == ["a", "b"]


def test_a_line_longer_than_the_limit_is_cut_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_LINE_BYTES", 10)
    assert "".join(assemble(b"x" * 25, b"y" * 7 + b"\n")) == "x" * 25 + "y" * 7


def test_both_streams_share_one_numbering_in_order_of_arrival() -> None:
    assembler = LineAssembler()
    lines = [
        *assembler.feed(Stream.STDOUT, b"1\n"),
        *assembler.feed(Stream.STDERR, b"2\n"),
        *assembler.feed(Stream.STDOUT, b"3\n"),
    ]
    assert [(line.seq, line.stream, line.line) for line in lines] == [
        (0, Stream.STDOUT, "1"),
        (1, Stream.STDERR, "2"),
        (2, Stream.STDOUT, "3"),
    ]


class Shelf:
    """A store that keeps chunks in memory and fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.lines: list[LogLine] = []
        self._failures = failures

    async def append(self, chunk: LogChunk) -> None:
        await asyncio.sleep(0)
        if self._failures:
            self._failures -= 1
            raise StoreError("the disk is full")
        assert chunk.first_seq == len(self.lines)
        self.lines += chunk.lines


async def write_all(log: WorkloadLog, shelf: Shelf, pieces: Sequence[bytes]) -> None:
    """As the runner does it: commits go on beside the writing, what is left goes with the end."""
    async with asyncio.TaskGroup() as group:
        commits = group.create_task(log.commit_as_they_come())
        for piece in pieces:
            await log.write(Stream.STDOUT, piece)
            await asyncio.sleep(0)
        commits.cancel()
    rest = await log.rest()
    if rest is not None:
        await shelf.append(rest)
        log.mark_committed(rest)
    log.close()


async def read_all(log: WorkloadLog, shelf: Shelf) -> list[LogLine]:
    """As a reader does it: from memory if it has them, else from the store."""
    seen: list[LogLine] = []
    while True:
        after = len(seen) - 1
        if after + 1 < log.committed:
            lines = log.tail(after)
            seen += shelf.lines[after + 1 : log.committed] if lines is None else lines
        elif log.closed:
            return seen
        else:
            await log.change()


@pytest.mark.parametrize("failures", [0, 3])
def test_every_reader_sees_every_line_once_and_in_order(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "TAIL_BYTES", 500)
    monkeypatch.setattr(logs, "MAX_WAITING_BYTES", 2_000)
    monkeypatch.setattr(logs, "RETRY_S", 0.001)

    async def scenario() -> list[list[LogLine]]:
        shelf = Shelf(failures)
        log = WorkloadLog("w", shelf.append)
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(read_all(log, shelf)) for _ in range(3)]
            await write_all(log, shelf, [f"line {i}\n".encode() for i in range(2_000)])
            readers.append(group.create_task(read_all(log, shelf)))
        return [reader.result() for reader in readers]

    for seen in asyncio.run(scenario()):
        assert [line.seq for line in seen] == list(range(2_000))
        assert [line.line for line in seen] == [f"line {i}" for i in range(2_000)]


def test_a_commit_under_way_at_the_end_is_not_stored_twice() -> None:
    async def scenario() -> list[str]:
        shelf = Shelf()
        release = asyncio.Event()

        async def slow(chunk: LogChunk) -> None:
            await release.wait()
            await shelf.append(chunk)

        log = WorkloadLog("w", slow)
        async with asyncio.TaskGroup() as group:
            commits = group.create_task(log.commit_as_they_come())
            await log.write(Stream.STDOUT, b"one\n")
            await asyncio.sleep(2 * logs.GATHER_S)
            commits.cancel()
        await log.write(Stream.STDOUT, b"two\n")
        release.set()
        rest = await log.rest()
        assert rest is not None
        await shelf.append(rest)
        return [line.line for line in shelf.lines]

    assert asyncio.run(scenario()) == ["one", "two"]


def test_a_commit_that_ends_in_the_moment_of_the_cancellation_is_not_stored_twice() -> None:
    async def scenario() -> LogChunk | None:
        async def last_moment(chunk: LogChunk) -> None:
            # Runs before the task that waits for this commit can learn of its end.
            asyncio.get_running_loop().call_soon(commits.cancel)

        log = WorkloadLog("w", last_moment)
        commits = asyncio.ensure_future(log.commit_as_they_come())
        await log.write(Stream.STDOUT, b"one\n")
        await asyncio.wait([commits])
        return await log.rest()

    assert asyncio.run(scenario()) is None
