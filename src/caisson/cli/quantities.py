"""Amounts as people type them: `90`, `1.5m`, `512m`, `2g`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import typer

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_SECONDS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_MEBIBYTES = {"": 1, "m": 1, "mb": 1, "mib": 1, "g": 1024, "gb": 1024, "gib": 1024}


def seconds(text: str) -> float:
    """A duration; plain numbers are seconds."""
    return _amount(text, _SECONDS, "a duration such as 30, 90s, 5m, 12h or 90d")


def mebibytes(text: str) -> int:
    """A size; plain numbers are MiB."""
    return round(_amount(text, _MEBIBYTES, "a size such as 256, 512m or 2g"))


def _amount(text: str, units: Mapping[str, float], wanted: str) -> float:
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or found[2].lower() not in units:
        raise typer.BadParameter(f"{text!r} is not {wanted}")
    return float(found[1]) * units[found[2].lower()]
