"""Descriptors that are kept back, so that what was begun can be held, ended and removed where no more are to be had.

What takes many is not begun while some of them are lacking: it could not be undone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

KEPT = 16
"""More than it takes to remove a folder with folders in it a few deep."""
_kept: list[int] = []
_wanted = [0]
_turn = Lock()
"""Folders are removed in threads, too."""


@contextmanager
def keeping() -> Iterator[None]:
    """Keep some back for as long as the context lasts. Without it, there is nothing to spend and nothing lacks."""
    _wanted[0] = KEPT
    try:
        _refill()
        yield
    finally:
        _wanted[0] = 0
        _release()


@contextmanager
def spending() -> Iterator[None]:
    """Give way to what must be done now; what that leaves is kept back again."""
    _release()
    try:
        yield
    finally:
        _refill()


def require() -> None:
    """Raise OSError if some are lacking and cannot be had."""
    if not _refill():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def _refill() -> bool:
    with _turn:
        try:
            while len(_kept) < _wanted[0]:
                _kept.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
        except OSError:
            return False
    return True


def _release() -> None:
    with _turn:
        while _kept:
            os.close(_kept.pop())
