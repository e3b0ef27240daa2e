"""How long each step of a machine's start may take before it is given up: a busy host is slow, and nothing is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from caisson.backends.microvm.vmm import Acceleration

LEAST_S = 20.0
"""For a step: a boot was seen to hang now and then, and is then tried once more."""
EMULATED_TIMES = 3
"""So much longer where machines are emulated. A copy starts its interpreter anew, and Node.js takes 2 s for that on a
quiet host, and was seen to take 36 s: one of eight at once, on two processors that others used as well."""
STEPS = 6
"""The most that making a template takes: two boots, an answer, pausing, saving and reading it back."""


@dataclass(frozen=True, slots=True)
class Patience:
    """What machines of one VMM are given."""

    step_s: float
    """For a boot up to the interpreter that waits, for saving a machine, for a copy that becomes one of its own."""

    @classmethod
    def of(cls, acceleration: Acceleration, start_timeout_s: float) -> Self:
        """Never less than a whole start may take, so that no step of one is given up before the start is."""
        times = EMULATED_TIMES if acceleration is Acceleration.EMULATED else 1
        return cls(max(LEAST_S * times, start_timeout_s))

    @property
    def template_s(self) -> float:
        """Longest it may take to make a template."""
        return STEPS * self.step_s
