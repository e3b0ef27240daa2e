"""A workload that is not finished: its present state, its log, and the handle to end it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from caisson.engine.logs import WorkloadLog
from caisson.errors import CaissonError
from caisson.model import Reason, StartKind, Workload, WorkloadSpec


@dataclass(slots=True, eq=False)
class Live:
    """One unfinished workload. Only its own task changes `workload`; others may ask for its end."""

    workload: Workload
    tenant: str
    spec: WorkloadSpec
    archive: Path | None
    attached: bool
    log: WorkloadLog
    start: StartKind | None = None
    """How its sandbox must come to be; None where the fastest way counts."""
    accepted_at: float = field(default_factory=monotonic)
    """On the monotonic clock, in seconds."""
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is known to be on disk (or cannot be put there: `failure`), or when nobody needs to know."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the terminal state is in the store, or cannot be put there (then `failure` says why)."""
    failure: CaissonError | None = None
    kill_reason: Reason | None = None
    begun: bool = False
    """True once it has a sandbox of this server's; its status may tell of one before a restart."""
    settling: bool = False
    """True from the moment the outcome is decided: too late to end it otherwise."""
    task: asyncio.Task[None] | None = None

    def update(self, **changes: Any) -> Workload:
        """Replace members of the workload; returns it."""
        self.workload = msgspec.structs.replace(self.workload, **changes)
        return self.workload

    def kill(self, reason: Reason) -> None:
        """Ask its task to end it; the first reason counts. Await `done` to know that it is verified dead."""
        if self.kill_reason is None and not self.settling and self.task is not None:
            self.kill_reason = reason
            self.task.cancel()

    def defer(self) -> None:
        """Leave it unfinished in the store, for the next start of the server. Only while it has no sandbox here."""
        if not self.begun and self.kill_reason is None and not self.settling and self.task is not None:
            self.task.cancel()
