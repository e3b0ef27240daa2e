"""How a run ended, decided from what was seen of it: a pure function, so that blame is never a matter of timing."""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass, field

import msgspec

from caisson.model import KILL_REASONS, Reason, Status, Usage, WorkloadError
from caisson.sandbox.contract import Exited, Raised


@dataclass(slots=True)
class Seen:
    """What the host saw of a run: at most one reason of its own for ending it, and what the sandbox said."""

    ended_by: Reason | None = None
    message: str = ""
    raised: Raised | None = None
    exited: Exited | None = None
    result: bytes = b""
    usage: Usage = field(default_factory=Usage)

    def end(self, reason: Reason, message: str) -> None:
        """Note why the host ended it."""
        self.ended_by, self.message = reason, message


@dataclass(frozen=True, slots=True)
class Outcome:
    """The terminal part of a workload."""

    status: Status
    error: WorkloadError | None = None
    exit_code: int | None = None
    output: bytes = b"null"


def failed(reason: Reason, message: str, exit_code: int | None = None) -> Outcome:
    """An outcome with an error; `killed` where somebody wanted it, `failed` otherwise."""
    status = Status.KILLED if reason in KILL_REASONS else Status.FAILED
    return Outcome(status, WorkloadError(reason=reason, message=message), exit_code)


def decide(seen: Seen) -> Outcome:
    """The outcome. What the host itself did or saw outranks what the sandbox says of itself."""
    if seen.ended_by is not None:
        return failed(seen.ended_by, seen.message)
    exited = seen.exited
    if exited is None:
        return failed(Reason.SANDBOX_CRASHED, "the sandbox ended without saying how")
    if exited.out_of_memory:
        return failed(Reason.OUT_OF_MEMORY, "the program used more memory than `resources.mem_mb` allows")
    code = exited.code if exited.signal is None else 128 + exited.signal
    if seen.raised is not None:
        return _raised(seen.raised, code)
    if exited.signal is not None:
        return failed(Reason.EXIT_NONZERO, f"the program was ended by signal {_signal_name(exited.signal)}", code)
    if code:
        return failed(Reason.EXIT_NONZERO, f"the program exited with code {code}", code)
    return _completed(seen.result)


def _raised(raised: Raised, code: int | None) -> Outcome:
    text = raised.trace or raised.message
    if raised.kind == Reason.INVALID_CODE:
        return failed(Reason.INVALID_CODE, text, code or 1)
    if raised.kind == Reason.DISK_FULL:
        return failed(Reason.DISK_FULL, text, code or 1)
    # However it went on from there.
    return failed(Reason.EXCEPTION, text, 1)


def _completed(result: bytes) -> Outcome:
    if not result.strip():
        return Outcome(Status.COMPLETED, exit_code=0)
    problem = json_problem(result)
    if problem is not None:
        return failed(Reason.EXCEPTION, f"the output is not JSON: {problem}", 1)
    return Outcome(Status.COMPLETED, exit_code=0, output=result)


def json_problem(data: bytes) -> str | None:
    """Why `data` is not JSON that every client can read, or None. It is parsed whole, because a sandbox may lie."""
    try:
        msgspec.json.decode(data)
    except RecursionError:
        return "it is nested too deeply"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return str(error)
    return None


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signals.Signals(number).name})"
    except ValueError:
        return str(number)
