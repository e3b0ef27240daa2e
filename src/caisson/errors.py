"""Every error that crosses a layer, each with a closed reason, a message for the user and one for the log.

CaissonError
├── Refused               a request that is not carried out (becomes an HTTP problem)
└── SandboxError          something went wrong with a sandbox (becomes a workload's `error`)
    ├── StartFailed       no sandbox came up
    ├── SandboxCrashed    it died, or broke the protocol
    ├── Unavailable       this host cannot do it, with what would change that
    └── ImageNotFound     the image cannot be had, or not be run
"""

from __future__ import annotations

from enum import StrEnum

from caisson.model import Reason


class Refusal(StrEnum):
    """Why a request was refused; the `reason` member of the problem document."""

    MALFORMED = "malformed"
    UNKNOWN_MEMBER = "unknown_member"
    INVALID_VALUE = "invalid_value"
    BAD_ARCHIVE = "bad_archive"
    TOO_LARGE = "too_large"
    HEAD_TOO_LARGE = "head_too_large"
    TOO_SLOW = "too_slow"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    NOT_ACCEPTABLE = "not_acceptable"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    TOO_MANY_GUESSES = "too_many_guesses"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    UNSUPPORTED = "unsupported"
    QUOTA_EXCEEDED = "quota_exceeded"
    OVERLOADED = "overloaded"
    SHUTTING_DOWN = "shutting_down"
    NOT_READY = "not_ready"
    STORAGE = "storage"
    INTERNAL = "internal"


class CaissonError(Exception):
    """The root. `message` is for the user; `detail` is for the log and may say more about the host."""

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail or message


class Refused(CaissonError):
    """A request that is not carried out.

    `status` is the HTTP status, `member` the request's member at fault (dotted path, header or query name), and
    `retry_after_s` how long the client should wait where waiting helps.
    """

    def __init__(
        self,
        status: int,
        reason: Refusal,
        message: str,
        *,
        member: str | None = None,
        retry_after_s: int | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message, detail=detail)
        self.status = status
        self.reason = reason
        self.member = member
        self.retry_after_s = retry_after_s


class SandboxError(CaissonError):
    """Something went wrong with a sandbox, ours or the program's doing as `reason` says."""

    reason: Reason = Reason.SANDBOX_CRASHED


class StartFailed(SandboxError):
    """No sandbox came up; user code did not begin."""

    reason = Reason.START_FAILED


class SandboxCrashed(SandboxError):
    """The sandbox died without telling an outcome, or broke the channel protocol."""

    reason = Reason.SANDBOX_CRASHED


class Unavailable(StartFailed):
    """This host cannot do it. `fix` is the command or step that would change that."""

    def __init__(self, message: str, *, fix: str | None = None, detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.fix = fix


class ImageNotFound(Unavailable):
    """There is no such image, or none for this machine, or it cannot be run; trying again does not help."""

    reason = Reason.IMAGE_NOT_FOUND
