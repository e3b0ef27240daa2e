"""Words for exceptions: loaded by the waiting Python when there is time for it, or when there is an exception."""

from __future__ import annotations

import linecache  # noqa: F401 - used by traceback, and imported here so that it need not be later
import traceback
from builtins import (  # noqa: UP029 - names of this module, since a program may replace those of `builtins`
    BaseException,
    OSError,
    SyntaxError,
    getattr,
    id,
    isinstance,
    len,
    set,
    str,
    type,
)
from errno import EDQUOT, ENOSPC


def kind_of(error: BaseException, loading: bool, work: str) -> str:
    """The word for an exception in EXCEPTION; the user's files lie below `work`."""
    if loading and isinstance(error, SyntaxError) and str(error.filename).startswith(work + "/"):
        return "invalid_code"
    if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
        return "disk_full"
    return type(error).__qualname__


def trace_of(error: BaseException, work: str) -> str:
    """The traceback with the user's files and lines only, named as the user knows them: below `work`."""
    begin = work + "/"
    whole = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
    waiting, seen = [whole], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        kept = []
        for frame in part.stack:
            if frame.filename.startswith(begin):
                frame.line  # noqa: B018 - read from the file now, while its name is the real one
                frame.filename = frame.filename[len(begin) :]
                kept.append(frame)
        part.stack[:] = kept
        name: object = getattr(part, "filename", None)
        if isinstance(name, str) and name.startswith(begin):
            part.filename = name[len(begin) :]
        others = [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]
        waiting += [other for other in others if other is not None]
    lines = "".join(whole.format()).rstrip("\n")
    # A heading with no line below it, where the error came from outside the user's files.
    if not whole.stack and lines.startswith("Traceback (most recent call last):\n"):
        lines = lines.partition("\n")[2]
    return lines
