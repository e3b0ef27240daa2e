"""The host driver against guests that lie, flood, fall silent and go away."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caisson.errors import SandboxCrashed, SandboxError, StartFailed
from caisson.model import Resources, Runtime, Stream
from caisson.sandbox.agent import CLOCK_S, CLOCK_TRIES_S, STREAM, Renewal, renew, run
from caisson.sandbox.channel import Channel
from caisson.sandbox.contract import Event, Exited, Job, Output, Raised, Result
from caisson.sandbox.launch import Launch
from caisson.sandbox.protocol import (
    FROM_HOST,
    HEADER,
    INPUT_WINDOW,
    MAX_PAYLOAD,
    OUTPUT_WINDOW,
    Exit,
    Fault,
    Fields,
    FrameDecoder,
    FrameType,
    Start,
    Tag,
    encode_fields,
    encode_frame,
)

PATIENCE_S = 10
QUIET_S = 0.2


def frame(type: FrameType, payload: bytes = b"", stream: int = STREAM) -> bytes:
    """One frame, on the program's stream."""
    return encode_frame(type, payload, stream=stream)


def fault(type: FrameType, kind: str, message: str = "", stream: int = STREAM) -> bytes:
    """An EXCEPTION or an ERROR."""
    return frame(type, Fault(message=message, kind=kind).encode(), stream)


def credit(size: int) -> bytes:
    """CREDIT of the guest."""
    return frame(FrameType.CREDIT, encode_fields([(Tag.SIZE, size)]))


STARTED = frame(FrameType.STARTED)
EXIT = frame(FrameType.EXIT, Exit(code=0).encode())
RESULT = frame(FrameType.RESULT, b"1")


def a_job(**members: object) -> Job:
    """A job of one file."""
    members.setdefault("resources", Resources(max_output_bytes=1 << 20))
    return Job("job", Runtime.PYTHON, "main.py", files={"main.py": b"1"}, **members)  # type: ignore[arg-type] # as they are


async def hear(
    said: bytes, job: Job | None = None, launch: Launch | None = None, *, close: bool = True
) -> tuple[list[Event], SandboxError | None]:
    """The events of a guest that says this and goes away, and how the driver ended."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    fd = ours.detach()
    channel = Channel(fd, os.dup(fd))
    loop, events = asyncio.get_running_loop(), list[Event]()

    async def speak() -> None:
        await loop.sock_sendall(theirs, said)
        if close:
            theirs.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(theirs, 1 << 16):
            pass

    speaking = asyncio.ensure_future(speak())
    try:
        async with (
            asyncio.timeout(PATIENCE_S),
            aclosing(run(channel, job or a_job(), launch or Launch(entrypoint="main.py"))) as stream,
        ):
            async for event in stream:
                events.append(event)
        return events, None
    except SandboxError as error:
        return events, error
    finally:
        speaking.cancel()
        await asyncio.wait([speaking])
        channel.close()
        theirs.close()


def heard(said: bytes, job: Job | None = None, launch: Launch | None = None) -> tuple[list[Event], SandboxError | None]:
    """`hear` in a loop of its own."""
    return asyncio.run(hear(said, job, launch))


def test_an_honest_run_is_told_in_order() -> None:
    out = frame(FrameType.STDOUT, b"a") + frame(FrameType.STDERR, b"b")
    assert heard(STARTED + out + RESULT + EXIT) == (
        [Output(Stream.STDOUT, b"a"), Output(Stream.STDERR, b"b"), Result(b"1"), Exited(code=0)],
        None,
    )


def test_what_follows_the_end_is_not_heard() -> None:
    assert heard(STARTED + EXIT + RESULT + b"\xff" * 100) == ([Exited(code=0)], None)


LIES = {
    "a result before the start": RESULT,
    "an end before the start": EXIT,
    "an exception before the start": fault(FrameType.EXCEPTION, "E"),
    "started twice": STARTED + STARTED,
    "an exception twice": STARTED + fault(FrameType.EXCEPTION, "E") * 2,
    "an end with code and signal": STARTED + frame(FrameType.EXIT, Exit(code=0, signal=9).encode()),
    "an end with neither": STARTED + frame(FrameType.EXIT),
    "an impossible code": STARTED + frame(FrameType.EXIT, encode_fields([(Tag.CODE, 256)])),
    "an impossible signal": STARTED + frame(FrameType.EXIT, encode_fields([(Tag.SIGNAL, 0)])),
    "a message that ends in a field": STARTED + frame(FrameType.EXIT, b"\x30\0\0\0\x08\0"),
    "a field twice": STARTED + frame(FrameType.EXIT, encode_fields([(Tag.CODE, 0)] * 2)),
    "another stream": STARTED + frame(FrameType.STDOUT, b"x", stream=2),
    "output of the sandbox itself": STARTED + frame(FrameType.STDOUT, b"x", stream=0),
    "a second HELLO": STARTED + frame(FrameType.HELLO, stream=0),
    "a second READY": STARTED + frame(FrameType.READY, stream=0),
    "a PING": STARTED + frame(FrameType.PING, b"x", stream=0),
    "a host's frame": STARTED + frame(FrameType.START),
    "an unknown type": STARTED + HEADER.pack(0, 0x55, STREAM),
    "a length beyond the limit": STARTED + HEADER.pack(MAX_PAYLOAD + 1, FrameType.STDOUT, STREAM),
    "the greatest length": STARTED + HEADER.pack(0xFFFFFFFF, FrameType.STDOUT, STREAM),
    "credit without a size": STARTED + frame(FrameType.CREDIT),
    "endless credit": STARTED + credit((1 << 64) - 1),
    "credit that adds up to too much": STARTED + credit(1 << 62) * 4,
    "more output than it has credit for": STARTED + frame(FrameType.STDOUT, b"x" * (OUTPUT_WINDOW + 1)),
    "an error of ours while it runs": STARTED + fault(FrameType.ERROR, "spawn"),
    "a protocol error": STARTED + fault(FrameType.ERROR, "protocol"),
    "an agent that gives up": STARTED + fault(FrameType.ERROR, "io", stream=0),
    "an end that never comes": STARTED + frame(FrameType.STDOUT, b"x"),
    "half a frame": STARTED + EXIT[:-3],
}


@pytest.mark.parametrize("said", LIES.values(), ids=LIES)
def test_a_lie_is_a_crash_and_nobody_elses_fault(said: bytes) -> None:
    events, failure = heard(said)
    assert isinstance(failure, SandboxCrashed)
    assert not any(isinstance(event, Exited) for event in events)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        fault(FrameType.ERROR, "spawn", "no"),
        fault(FrameType.ERROR, "bad_path"),
        fault(FrameType.ERROR, "?", stream=0),
    ],
)
def test_what_ends_before_the_start_is_a_failed_start(said: bytes) -> None:
    assert isinstance(heard(said)[1], StartFailed)


def test_text_that_is_not_utf_8_is_made_readable() -> None:
    bad = frame(
        FrameType.EXCEPTION, encode_fields([(Tag.KIND, b"\xff"), (Tag.MESSAGE, b"a\xfe"), (Tag.TRACE, b"\xc3")])
    )
    events, _ = heard(STARTED + bad + EXIT)
    assert events[0] == Raised("\ufffd", "a\ufffd", "\ufffd")


def test_a_result_in_pieces_is_one_and_a_second_text_is_part_of_it() -> None:
    assert heard(STARTED + RESULT * 3 + EXIT)[0] == [Result(b"111"), Exited(code=0)]


def test_a_result_beyond_the_limit_is_handed_on_so_that_the_run_ends_for_it() -> None:
    job = a_job(resources=Resources(max_output_bytes=10))
    events, _ = heard(STARTED + frame(FrameType.RESULT, b"x" * 6) * 3 + EXIT, job)
    assert events == [Result(b"x" * 12), Exited(code=0)]


def test_a_full_disk_is_the_jobs_own_end() -> None:
    events, failure = heard(fault(FrameType.ERROR, "no_space", "main.py"))
    assert failure is None
    assert [type(event) for event in events] == [Raised, Exited]


async def follow(events: AsyncGenerator[Event, None]) -> None:
    """Take whatever comes."""
    async for _ in events:
        pass


async def collect(guest: socket.socket, decoder: FrameDecoder, count: int) -> list[tuple[FrameType, bytes]]:
    """What the host says until it is quiet, or `count` frames. The first is certain to come, and waited for."""
    frames: list[tuple[FrameType, bytes]] = []
    loop = asyncio.get_running_loop()
    while len(frames) < count:
        try:
            data = await asyncio.wait_for(loop.sock_recv(guest, 1 << 16), QUIET_S if frames else PATIENCE_S)
        except TimeoutError:
            break
        frames += [(type, payload) for type, _, payload in decoder.feed(data)]
    return frames


def test_input_goes_out_by_credit_and_whole() -> None:
    """First the input, at most a window of it; then as much as is granted; then stdin, and its end."""

    async def main() -> list[tuple[FrameType, bytes]]:
        ours, guest = socket.socketpair()
        guest.setblocking(False)
        fd = ours.detach()
        channel = Channel(fd, os.dup(fd))
        job = a_job(input=b"i" * 300_000, stdin=b"s" * 100_000)
        loop, decoder = asyncio.get_running_loop(), FrameDecoder(accept=FROM_HOST)

        events = run(channel, job, Launch(entrypoint="main.py"))
        following = asyncio.ensure_future(follow(events))
        heard = await collect(guest, decoder, 100)
        first = sum(len(payload) for type, payload in heard if type in (FrameType.INPUT, FrameType.STDIN))
        assert first == INPUT_WINDOW
        start = next(Start.decode(payload) for type, payload in heard if type is FrameType.START)
        assert (start.input, start.input_size) == (None, 300_000)
        await loop.sock_sendall(guest, STARTED + credit(250_000))
        heard += await collect(guest, decoder, 100)
        await loop.sock_sendall(guest, credit(1 << 40))
        heard += await collect(guest, decoder, 100)
        await loop.sock_sendall(guest, EXIT)
        await following
        channel.close()
        guest.close()
        return heard

    frames = asyncio.run(main())
    assert b"".join(payload for type, payload in frames if type is FrameType.INPUT) == b"i" * 300_000
    assert b"".join(payload for type, payload in frames if type is FrameType.STDIN) == b"s" * 100_000
    types = [type for type, _ in frames]
    assert types[:3] == [FrameType.FILE, FrameType.FILE_DATA, FrameType.START]
    assert types == sorted(
        types, key=[FrameType.FILE, FrameType.FILE_DATA, FrameType.START, FrameType.INPUT, FrameType.STDIN].index
    )
    assert frames[-1] == (FrameType.STDIN, b"")


def test_a_guest_that_stops_reading_does_not_keep_its_end_back() -> None:
    """Nobody reads the megabytes of input, and the end is heard all the same."""

    async def main() -> Event:
        ours, guest = socket.socketpair()
        fd = ours.detach()
        channel = Channel(fd, os.dup(fd))
        guest.sendall(STARTED + credit(1 << 30) + EXIT)
        try:
            async with asyncio.timeout(PATIENCE_S):
                events = [event async for event in run(channel, a_job(stdin=b"x" * 8_000_000), Launch(argv=("x",)))]
        finally:
            channel.close()
            guest.close()
        return events[-1]

    assert asyncio.run(main()) == Exited(code=0)


def test_credit_comes_back_only_as_output_is_taken() -> None:
    async def main() -> tuple[int, int]:
        ours, guest = socket.socketpair()
        guest.setblocking(False)
        fd = ours.detach()
        channel = Channel(fd, os.dup(fd))
        loop, decoder = asyncio.get_running_loop(), FrameDecoder(accept=FROM_HOST)
        events = run(channel, a_job(stdin=b""), Launch(argv=("x",)))
        flood = asyncio.ensure_future(
            loop.sock_sendall(guest, STARTED + frame(FrameType.STDOUT, b"x" * 65_536) * (OUTPUT_WINDOW // 65_536))
        )
        await anext(events)
        before = await collect(guest, decoder, 100)
        await flood
        following = asyncio.ensure_future(follow(events))
        after = await collect(guest, decoder, 1)
        following.cancel()
        await asyncio.wait([following])
        await events.aclose()
        channel.close()
        guest.close()
        grants = [[payload for type, payload in frames if type is FrameType.CREDIT] for frames in (before, after)]
        return len(grants[0]), len(grants[1])

    assert asyncio.run(main()) == (0, 1)


PIECES = st.one_of(
    st.sampled_from([STARTED, EXIT, RESULT, credit(1), credit(1 << 62), *LIES.values()]),
    st.builds(
        lambda type, stream, payload: HEADER.pack(len(payload), type, stream) + payload,
        st.integers(0, 255),
        st.sampled_from([0, STREAM, STREAM, 2, 0xFFFFFFFF]),
        st.binary(max_size=64),
    ),
    st.binary(max_size=32),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=8))
def test_whatever_a_guest_says_the_driver_ends_with_one_end_or_one_error(pieces: list[bytes]) -> None:
    """No other exception, no end that is not last, no result twice, no start that failed after user code began."""
    events, failure = heard(b"".join(pieces))
    ends = [event for event in events if isinstance(event, Exited)]
    assert len([event for event in events if isinstance(event, Result)]) <= 1
    if failure is None:
        assert ends == events[-1:]
    else:
        assert not ends
        assert not (isinstance(failure, StartFailed) and any(isinstance(event, Output | Result) for event in events))


async def renewed(late_s: Callable[[int], float]) -> list[Fields]:
    """What a guest was asked that answers its n-th question so late, by a clock that goes on by nothing else."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    decoder, heard = FrameDecoder(accept=FROM_HOST), list[Fields]()
    loop = asyncio.get_running_loop()
    now_s = 0.0

    async def answer() -> None:
        nonlocal now_s
        while True:
            for asked in decoder.feed(await loop.sock_recv(theirs, 1 << 16)):
                now_s += late_s(len(heard))
                heard.append(Fields(asked.payload))
                nonce = heard[-1].blob(Tag.NONCE)
                assert nonce is not None
                await loop.sock_sendall(theirs, encode_frame(FrameType.RENEWED, encode_fields([(Tag.NONCE, nonce)])))

    fd = ours.detach()
    channel = Channel(fd, os.dup(fd))
    async with asyncio.timeout(PATIENCE_S):
        guest = asyncio.create_task(answer())
        await renew(channel, Renewal(hostname="copy"), lambda: now_s)
        guest.cancel()
    channel.close()
    theirs.close()
    return heard


def test_where_every_answer_is_late_a_clock_is_taken_as_it_is_after_some_time() -> None:
    """Were it set as often as elsewhere, a machine on a busy host would not be up in time, for a little more truth."""
    assert len(asyncio.run(renewed(lambda number: CLOCK_TRIES_S / 4))) == 1 + 4


def test_a_clock_that_was_told_late_is_set_again_and_nothing_else_is() -> None:
    first, *others = asyncio.run(renewed(lambda number: 0 if number else 5 * CLOCK_S))
    assert len(others) == 1
    assert all((other.integer(Tag.CLOCK_NS) or 0) > (first.integer(Tag.CLOCK_NS) or 0) for other in others)
    assert all(first.blob(tag) is not None for tag in (Tag.ENTROPY, Tag.MACHINE_ID, Tag.HOSTNAME))
    assert all(other.blob(tag) is None for tag in (Tag.ENTROPY, Tag.MACHINE_ID, Tag.HOSTNAME) for other in others)
