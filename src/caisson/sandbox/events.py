"""From the frames of a sandbox to the events of its workload, believing nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator

from caisson.model import Stream
from caisson.sandbox.contract import Event, Exited, Output, Raised, Result
from caisson.sandbox.protocol import Exit, Fault, Frame, FrameType, ProtocolError

_STREAMS = {FrameType.STDOUT: Stream.STDOUT, FrameType.STDERR: Stream.STDERR}
_TAIL_BYTES = 16 * 1024
_HEAP_EXHAUSTED = (b"JavaScript heap out of memory", b"Fatal JavaScript out of memory", b"Fatal process out of memory")
_ALLOCATION_FAILED = ("allocation failed", "could not allocate memory", "Unable to grow", "out of memory")
FAULTS = frozenset(
    {
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGXCPU,
        signal.SIGXFSZ,
    }
)
"""Signals a program can bring upon itself; every other one was sent from outside, where it can reach nobody."""


class Reader:
    """Follows one run."""

    def __init__(self, max_output_bytes: int) -> None:
        self.started = False
        """User code may have begun."""
        self._max_output_bytes = max_output_bytes
        self._result: list[bytes] | None = None
        self._result_bytes = 0
        self.raised = False
        """It said that an exception ended it."""
        self._ended = False
        self._allocation_failed = False
        self._stderr_tail = b""

    def read(self, frames: Iterable[Frame]) -> Iterator[Event]:
        """The events of these frames; neighbours of one stream become one. Raises ProtocolError."""
        pending: list[bytes] = []
        pending_type: FrameType | None = None
        for type, _, payload in frames:
            if type is not pending_type and pending and pending_type is not None:
                yield self._output(pending_type, pending)
                pending = []
            if type in _STREAMS:
                pending_type = type
                pending.append(payload)
                continue
            pending_type = None
            yield from self._event(type, payload)
        if pending and pending_type is not None:
            yield self._output(pending_type, pending)

    def end(self, code: int, oom_killed: bool) -> Iterator[Event]:
        """The events of a process that ended with this code (above 128: a signal) without announcing it."""
        yield from self._flush_result()
        number = code - 128 if code > 128 else None
        out_of_memory = oom_killed or self._exhausted(number) or self._allocation_failed
        yield Exited(code=code if number is None else None, signal=number, out_of_memory=out_of_memory)

    def _exhausted(self, signal: int | None) -> bool:
        """V8 says so on stderr before it ends itself by a signal."""
        return signal is not None and any(text in self._stderr_tail for text in _HEAP_EXHAUSTED)

    def _event(self, type: FrameType, payload: bytes) -> Iterator[Event]:
        if type is FrameType.STARTED:
            self.started = True
        elif not self.started:
            raise ProtocolError(f"{type.name} before STARTED")
        elif self._ended:
            # It ends once; what its pipes still hold comes all the same.
            return
        elif type is FrameType.RESULT:
            yield from self._add_result(payload)
        elif type is FrameType.EXCEPTION:
            yield self._exception(Fault.decode(payload))
        elif type is FrameType.EXIT:
            end = Exit.decode(payload)
            self._ended = True
            yield from self._flush_result()
            out_of_memory = bool(end.oom_kills) or self._allocation_failed or self._exhausted(end.signal)
            yield Exited(end.code, end.signal, out_of_memory=out_of_memory)
        else:
            raise ProtocolError(f"{type.name} while a program runs")

    def _output(self, type: FrameType, pieces: list[bytes]) -> Output:
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if type is FrameType.STDERR:
            self._stderr_tail = (self._stderr_tail + data[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        return Output(_STREAMS[type], data)

    def _exception(self, fault: Fault) -> Raised:
        if self.raised:
            raise ProtocolError("EXCEPTION twice")
        self.raised = True
        if fault.kind in ("RangeError", "OutOfMemory"):
            self._allocation_failed = any(text in fault.message for text in _ALLOCATION_FAILED)
        elif fault.kind == "MemoryError":
            self._allocation_failed = True
        return Raised(fault.kind, fault.message, fault.trace)

    def _add_result(self, payload: bytes) -> Iterator[Event]:
        self._result = [] if self._result is None else self._result
        if self._result_bytes > self._max_output_bytes:
            return
        self._result.append(payload)
        self._result_bytes += len(payload)
        if self._result_bytes > self._max_output_bytes:
            # Handed on although it is not complete: whoever keeps the limit ends the run for it.
            yield Result(b"".join(self._result))

    def _flush_result(self) -> Iterator[Event]:
        if self._result is not None and self._result_bytes <= self._max_output_bytes:
            yield Result(b"".join(self._result))
        self._result = None
