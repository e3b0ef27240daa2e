"""One measured value, and what was promised of it; or why it was not measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, and what was promised of it where something was."""

    name: str
    value: float
    unit: str
    promise: str = ""
    kept: bool | None = None

    @classmethod
    def at_most(cls, name: str, value: float, unit: str, limit: float) -> Figure:
        """A value that should not exceed `limit`."""
        return cls(name, value, unit, f"≤ {limit:g} {unit}", value <= limit)

    @classmethod
    def at_least(cls, name: str, value: float, unit: str, limit: float) -> Figure:
        """A value that should reach `limit`."""
        return cls(name, value, unit, f"≥ {limit:g} {unit}", value >= limit)


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """Something that could not be measured on this machine, and why; no failure, unless `failed`."""

    name: str
    reason: str
    failed: bool = False
    """It should have worked: the reason is what went wrong."""


Row = Figure | Unmeasured
"""A line of the table."""
