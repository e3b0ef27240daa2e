"""How far a long piece of work on images has come, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of the work on one image."""

    image: str
    step: str
    """What is being done, in words: `downloading root.erofs`."""
    done: int | None = None
    """Bytes of this step so far; None where they are not counted."""
    total: int | None = None
    """Bytes of this step in all, where that is known."""


Report = Callable[[Progress], None]
"""Told of every step, and of bytes at least a few times a second. Called on the event loop's thread."""


def silent(progress: Progress) -> None:
    """A Report for those who do not look."""
