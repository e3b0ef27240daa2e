"""Two machines deep, an agent's answers take many times as long; what they are is what is tested there."""

from __future__ import annotations

from caisson.backends.microvm import patience

LONG_S = 90.0


def be_patient() -> None:
    """Give boots, copies and savings of machines in this process the time they take in the lab."""
    patience.LEAST_S = LONG_S
