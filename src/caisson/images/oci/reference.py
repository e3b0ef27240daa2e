"""Names of images in registries: `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:]+\])(?::\d{{1,5}})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST})/)?(?P<repository>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Reference:
    """An image's name, taken apart."""

    host: str
    """With its port; empty: skopeo's default registry."""
    repository: str
    tag: str
    digest: str | None = None

    @property
    def name(self) -> str:
        """Without tag and digest, as skopeo takes it."""
        return f"{self.host}/{self.repository}" if self.host else self.repository

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


def parse_reference(text: str) -> Reference:
    """The reference in `text`, `latest` if it has no tag; a digest outdoes a tag. Raises ValueError."""
    found = _REFERENCE.fullmatch(text) if len(text) <= 512 else None
    if found is None:
        raise ValueError(f"{text!r} is no image; one is written [HOST[:PORT]/]NAME[:TAG] or NAME@sha256:…")
    host, repository = found["host"] or "", found["repository"]
    # As docker reads it: what stands before the first slash is a host only if it looks like one.
    if host and not ("." in host or ":" in host or host == "localhost"):
        if host != host.lower():
            raise ValueError(f"{text!r} is no image: a repository's name is in small letters")
        host, repository = "", f"{host}/{repository}"
    return Reference(host, repository, found["tag"] or "latest", found["digest"])
