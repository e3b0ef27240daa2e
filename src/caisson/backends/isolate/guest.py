"""What can run in a jail: a runtime's own files and how it is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from caisson.host.process import run

HARNESS_FOLDER = Path(__file__).parent / "harness"
HARNESS_TARGET = "/run/caisson/harness"
CHANNEL_TARGET = "/run/caisson/channel"
CACHE_TARGET = "/run/caisson/cache"
WORK_TARGET = "/work"
TMP_TARGET = "/tmp"  # noqa: S108 - inside a sandbox, where nobody else is


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the host, shown read-only inside."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True)
class Guest:
    """One runtime: what it needs to see, and its command, given the nonce and the memory a program may use in MiB."""

    name: str
    version: str
    mounts: tuple[Mount, ...]
    command: Callable[[str, int], list[str]]
    data_mb: int
    """Writable memory the runtime maps for itself, in MiB, most of which it never touches: needed for RLIMIT_DATA."""
    env: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    """Symbolic links inside: where each is, and what it says."""


async def libraries(*binaries: Path) -> tuple[Mount, ...]:
    """The shared libraries that trusted programs need, and their loader, at the places where they look for them."""
    listing = await run(["ldd", *map(str, binaries)])
    targets = {
        word
        for line in listing.stdout.decode().splitlines()
        if not line.endswith(":")
        for word in line.split()
        if word.startswith("/")
    }
    return tuple(Mount(real_path(target), target) for target in sorted(targets))


def real_path(path: str | Path) -> Path:
    """The path without symbolic links: a link's target need not exist inside."""
    return Path(path).resolve()
