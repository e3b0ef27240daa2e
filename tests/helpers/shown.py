"""What came out of a sandbox or an agent, as tests ask for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from caisson.errors import SandboxError
from caisson.model import Stream
from caisson.sandbox.contract import Event, Exited, Output, Raised, Result


@dataclass(slots=True)
class Shown:
    """What a run showed."""

    events: list[Event] = field(default_factory=list)
    failure: SandboxError | None = None

    def text(self, stream: Stream) -> str:
        """All of one stream."""
        pieces = [event.data for event in self.events if isinstance(event, Output) and event.stream is stream]
        return b"".join(pieces).decode("utf-8", "replace")

    @property
    def stdout(self) -> str:
        """All of stdout."""
        return self.text(Stream.STDOUT)

    @property
    def stderr(self) -> str:
        """All of stderr."""
        return self.text(Stream.STDERR)

    @property
    def result(self) -> Any:
        """The result as a value; fails if there is none, or more than one."""
        (result,) = [event for event in self.events if isinstance(event, Result)]
        return json.loads(result.data)

    @property
    def raised(self) -> Raised:
        """The exception; fails if there is none, or more than one."""
        (raised,) = [event for event in self.events if isinstance(event, Raised)]
        return raised

    @property
    def exited(self) -> Exited:
        """The end, which is the last event."""
        assert self.failure is None, self.failure.detail
        end = self.events[-1]
        assert isinstance(end, Exited), self.events
        return end
