"""Writing to the terminal: what a sandbox says must not steer it, and what we say should be easy on the eye."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_COLOUR = r"\x1b\[[0-9;:]*m"
_STEERING = re.compile(
    rf"({_COLOUR})|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_PIPE_WIDTH = 4096
"""Wide enough that no line of a table is folded or cut for a program that reads it."""


def harmless(text: str, *, colours: bool = False) -> str:
    """`text` without what would move the cursor, retitle the window or ask the terminal questions."""
    cleaned = _STEERING.sub(lambda found: found[1] or "", text)
    return cleaned if colours else re.sub(_COLOUR, "", cleaned)


def write_line(stream: TextIO, line: str) -> None:
    """Write one line of a program's output: as it is into a pipe, harmless but coloured to a terminal."""
    if stream.isatty():
        line = harmless(line, colours=True) + ("\x1b[0m" if "\x1b" in line else "")
    stream.write(line + "\n")
    stream.flush()


def console(*, stderr: bool = False) -> Console:
    """A console that folds tables for people and never for pipes."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _PIPE_WIDTH, highlight=False, markup=False)


def show(*things: RenderableType) -> None:
    """Print tables and texts on stdout; for pipes without the blanks that fill a table's last column."""
    out = console()
    if sys.stdout.isatty():
        out.print(*things, sep="\n")
        return
    with out.capture() as captured:
        out.print(*things, sep="\n")
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def print_json(value: object) -> None:
    """Print anything the API answers: on one line into a pipe, indented and coloured on a terminal."""
    import msgspec

    encoded = msgspec.json.encode(value)
    if sys.stdout.isatty():
        from rich.json import JSON

        console().print(JSON(encoded.decode(), ensure_ascii=False))
    else:
        sys.stdout.write(encoded.decode() + "\n")
