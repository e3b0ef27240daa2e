"""From frames to events, and what no honest harness would send."""

from __future__ import annotations

import signal

import pytest

from caisson.model import Stream
from caisson.sandbox.contract import Exited, Output, Raised, Result
from caisson.sandbox.events import Reader
from caisson.sandbox.protocol import Exit, Fault, Frame, FrameType, ProtocolError


def frame(type: FrameType, payload: bytes = b"") -> Frame:
    """A frame on the stream of the harness."""
    return Frame(type, 0, payload)


STARTED = frame(FrameType.STARTED)


def reader(limit: int = 1000) -> Reader:
    """One whose program has begun."""
    made = Reader(limit)
    assert list(made.read([STARTED])) == []
    return made


def test_neighbouring_output_becomes_one_event() -> None:
    """Frames of one stream are joined, and the order across streams is kept."""
    out, err = FrameType.STDOUT, FrameType.STDERR
    frames = [frame(out, b"a"), frame(out, b"b"), frame(err, b"c"), frame(out, b"d")]
    assert list(reader().read(frames)) == [
        Output(Stream.STDOUT, b"ab"),
        Output(Stream.STDERR, b"c"),
        Output(Stream.STDOUT, b"d"),
    ]


def test_a_result_in_pieces_is_one_event_before_the_end() -> None:
    """Pieces are joined at EXIT."""
    made = reader()
    frames = [frame(FrameType.RESULT, b"[1,"), frame(FrameType.RESULT, b"2]")]
    assert list(made.read(frames)) == []
    assert list(made.read([frame(FrameType.EXIT, Exit(code=0).encode())])) == [Result(b"[1,2]"), Exited(0)]


def test_a_result_above_the_limit_is_handed_on_at_once_and_not_gathered() -> None:
    """Memory is bounded: the keeper of the limit sees that it is exceeded, and nothing more is kept."""
    made = reader(limit=10)
    events = list(made.read([frame(FrameType.RESULT, b"x" * 8)] * 1000))
    assert events == [Result(b"x" * 16)]
    assert list(made.end(0, oom_killed=False)) == [Exited(0)]


def test_an_exception_is_told_once() -> None:
    """Twice is a fault."""
    made = reader()
    fault = frame(FrameType.EXCEPTION, Fault("m", "t", "K").encode())
    assert list(made.read([fault])) == [Raised("K", "m", "t")]
    with pytest.raises(ProtocolError):
        list(made.read([fault]))


@pytest.mark.parametrize("type", [FrameType.HELLO, FrameType.READY, FrameType.ERROR, FrameType.PONG])
def test_frames_out_of_place_are_faults(type: FrameType) -> None:
    """While a program runs only its output, its result and its end are due."""
    with pytest.raises(ProtocolError):
        list(reader().read([frame(type, b"")]))


def test_a_result_before_the_start_is_a_fault() -> None:
    """Nothing can come of a program that has not begun."""
    with pytest.raises(ProtocolError):
        list(Reader(10).read([frame(FrameType.RESULT, b"1")]))


@pytest.mark.parametrize("payload", [b"", b"junk", Exit(code=0).encode() + Exit(code=1).encode()])
def test_an_end_that_says_nothing_is_a_fault(payload: bytes) -> None:
    """Malformed messages are the guest's fault."""
    with pytest.raises(ProtocolError):
        list(reader().read([frame(FrameType.EXIT, payload)]))


def test_it_ends_once_and_only_output_comes_after() -> None:
    """A second end, whether in the same frames or in later ones, would be another story about the same run."""
    end, other = (frame(FrameType.EXIT, Exit(code=code).encode()) for code in (0, 1))
    made = reader()
    result, late = frame(FrameType.RESULT, b"1"), frame(FrameType.STDOUT, b"late")
    assert list(made.read([end, other])) == [Exited(0)]
    assert list(made.read([other, result, late, end])) == [Output(Stream.STDOUT, b"late")]


def test_a_death_by_signal_is_told_as_such() -> None:
    """Codes above 128 without an announced end are signals."""
    assert list(reader().end(128 + signal.SIGSEGV, oom_killed=False)) == [Exited(signal=signal.SIGSEGV)]


def test_an_exhausted_heap_is_recognised_by_its_last_words() -> None:
    """V8's message on stderr and its trap together mean out of memory; the message alone does not."""
    text = frame(FrameType.STDERR, b"# Fatal JavaScript out of memory: Reached heap limit")
    made = reader()
    list(made.read([text]))
    assert list(made.end(128 + signal.SIGTRAP, oom_killed=False)) == [Exited(signal=signal.SIGTRAP, out_of_memory=True)]
    made = reader()
    list(made.read([text]))
    assert list(made.end(0, oom_killed=False)) == [Exited(0)]
