"""A small fuzzer for parsers in Python: mutates inputs, and keeps those that reach lines no other has reached."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

LARGEST_BYTES = 1 << 16
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 20, (1 << 20) + 1)

Arc = tuple[str, int, int]


@dataclass(frozen=True)
class Target:
    """A parser: what to call with bytes, which exceptions are its answers, and from what to begin."""

    name: str
    run: Callable[[bytes], object]
    answers: tuple[type[Exception], ...]
    modules: tuple[str, ...]
    """Ends of the names of files whose lines count."""
    seeds: Sequence[bytes]
    words: Sequence[bytes] = ()
    """Pieces worth inserting."""


@dataclass
class Report:
    """What came of it."""

    runs: int = 0
    arcs: set[Arc] = field(default_factory=set)
    failures: Mapping[str, bytes] = field(default_factory=dict)
    """Tracebacks, with the first input that led to each."""


def fuzz(target: Target, *, seed: int, runs: int | None = None, seconds: float | None = None) -> Report:
    """Run the target so often, or for so long; whatever it raises that is no answer is a failure."""
    random = Random(seed)
    report = Report()
    failures: dict[str, bytes] = {}
    kept: list[bytes] = []
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    inputs = _inputs(target, kept, random)
    while (runs is None or report.runs < runs) and time.monotonic() < end:
        data = next(inputs)
        report.runs += 1
        try:
            with _seeing(target.modules) as seen:
                target.run(data)
        except target.answers:
            pass
        except Exception:
            failures.setdefault(_short(traceback.format_exc()), data)
        if not seen <= report.arcs or report.runs <= len(target.seeds):
            report.arcs |= seen
            kept.append(data)
    report.failures = failures
    return report


def _inputs(target: Target, kept: list[bytes], random: Random) -> Iterator[bytes]:
    yield from target.seeds
    while True:
        data = bytearray(random.choice(kept))
        for _ in range(random.choice((1, 1, 2, 4, 8))):
            _mutate(data, random, kept, target.words)
        yield bytes(data[:LARGEST_BYTES])


def _mutate(data: bytearray, random: Random, kept: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    span = random.choice((1, 1, 2, 4, 16, 128, 512))
    match random.randrange(8):
        case 0 if at < len(data):
            data[at] ^= 1 << random.randrange(8)
        case 1 if at < len(data):
            data[at] = random.randrange(256)
        case 2:
            del data[at : at + span]
        case 3:
            data[at:at] = data[at : at + span] or random.randbytes(span)
        case 4:
            width = random.choice((1, 2, 4, 8))
            number = random.choice(INTERESTING) & ((1 << 8 * width) - 1)
            data[at : at + width] = number.to_bytes(width, random.choice(("big", "little")))
        case 5:
            other = random.choice(kept)
            begin = random.randrange(len(other) + 1)
            data[at : at + random.choice((0, span))] = other[begin : begin + span]
        case 6 if words:
            data[at : at + random.choice((0, 0, span))] = random.choice(words)
        case _:
            del data[at:]


@contextmanager
def _seeing(modules: tuple[str, ...]) -> Iterator[set[Arc]]:
    """The pairs of lines, one after the other, that are executed in these files."""
    arcs: set[Arc] = set()

    def enter(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if not name.endswith(modules):
            return None
        last = 0

        def line(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
            nonlocal last
            if event == "line":
                arcs.add((name, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield arcs
    finally:
        sys.settrace(before)


def _short(trace: str) -> str:
    """The traceback's end: where it happened, whatever the input was."""
    return (
        "\n".join(line for line in trace.splitlines() if line.startswith("  File "))[-600:]
        + "\n"
        + trace.splitlines()[-1]
    )


def found_inputs(folder: Path) -> list[bytes]:
    """Inputs that once were failures, as further seeds."""
    return [path.read_bytes() for path in sorted(folder.glob("*"))] if folder.is_dir() else []
