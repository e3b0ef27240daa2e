"""Does each thing once before it counts, and has the memory that a small program takes. Loaded by `python.py`, whose
names it takes while they are its own: before user code begins."""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RESERVE_BYTES = 1 << 20
ENDS_WELL, RAISES = "[2]", "[1]"
NAME = "caisson_rehearsal"
PROGRAM = b"def handler(input):\n    print(end='')\n    return 1 / (input[0] - 1)\n"
harness: Any = sys.modules["__main__"]


class Unheard:
    """A channel on which nobody is to hear of a rehearsal."""

    def send(self, kind: int, payload: bytes | memoryview = b"") -> None:
        harness.header(len(payload), kind)


def rehearse() -> None:
    """All of it, for an interpreter that was just started."""
    import json  # noqa: F401 - what most programs import
    import threading  # noqa: F401

    harness.attempt(lambda: run(ENDS_WELL))
    harness.attempt(lambda: run(RAISES))
    bytearray(RESERVE_BYTES)
    gc.collect()
    gc.freeze()


def rehearse_well() -> None:
    """What a program does that ends well; for one that has done all of it, in another machine."""
    harness.attempt(lambda: run(ENDS_WELL))


def run(given: str) -> None:
    """Run a program with this input, from a file as the user's will be."""
    argv, path = sys.argv, sys.path[:]
    entry = os.path.join(harness.WORK, NAME + ".py")
    fd = os.open(entry, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, PROGRAM)
        os.close(fd)
        fields = (harness.TAG_ENTRYPOINT, NAME + ".py", 99), (harness.TAG_INPUT, given, 99)
        start = harness.Start(harness.message(*fields))
        program = harness.Program(Unheard(), start, harness.prepare(start))
        program.run()
        program.forget()
        harness.flush()
    finally:
        sys.modules["__main__"] = harness
        sys.modules.pop(NAME, None)
        sys.argv = argv
        sys.path[:] = path
        os.unlink(entry)
