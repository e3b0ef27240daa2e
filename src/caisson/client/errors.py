"""What the client raises.

ClientError
├── ApiError       the server refused, and says why
├── Unreachable    no answer: nobody listens there, or the connection broke
├── BadAnswer      what answers there does not speak Caisson's API
└── PackError      a folder that cannot be sent
"""

from __future__ import annotations


class ClientError(Exception):
    """The root of what the client raises."""


class ApiError(ClientError):
    """The server refused.

    `reason` is the problem document's stable reason, `member` the part of the request at fault, and `retry_after_s` how
    long to wait where waiting helps. `reason` is None when something in front of the server answered for it.
    """

    def __init__(
        self,
        status: int,
        reason: str | None,
        message: str,
        *,
        member: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.member = member
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        where = f" (at `{self.member}`)" if self.member and self.member not in self.message else ""
        return f"{self.message}{where} [{self.status} {self.reason or 'no reason given'}]"


class Unreachable(ClientError):
    """No answer from the server at `url`."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            f"no answer from {url}: {cause}. Is a server running there? "
            "`caisson serve` starts one; CAISSON_API names another address."
        )
        self.url = url


class BadAnswer(ClientError):
    """What answers at `url` does not speak Caisson's API."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"what answered at {url} is not what a Caisson server says: {cause}")
        self.url = url


class PackError(ClientError):
    """A folder that cannot be sent, with what in it is at fault."""
