"""A private mount namespace in which a sandbox's unprivileged user can reach what lies where only root may go.

The virtual environment or the data folder may be below /root. Bubblewrap runs as the sandbox's own user, follows paths
as that user, and cannot bind an inherited descriptor (Linux refuses mounts of another namespace). So root binds those
few folders onto a small tmpfs in a namespace of its own, once for each server process. The namespace is held by a
descriptor, not by a process, and vanishes with the last one who uses it: nothing is left to clean up.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caisson.errors import Unavailable
from caisson.host.process import CommandFailed, spawn

_PLACES = ("/mnt", "/media", "/srv", "/opt")
"""Folders every system has, and none of which bubblewrap itself needs."""
# $1 is the place; then pairs of a source and its name. Prints a byte when done, and waits to be killed.
_SCRIPT = """
set -e
place=$1; shift
mount -t tmpfs -o size=64k,mode=755 caisson "$place"
while [ $# -gt 0 ]; do
  if [ -d "$1" ]; then mkdir "$place/$2"; else : > "$place/$2"; fi
  mount --bind "$1" "$place/$2"
  shift 2
done
echo
exec sleep 60
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where bubblewrap finds its sources. `namespace_fd` is the mount namespace to enter, or None for the host's."""

    namespace_fd: int | None
    places: dict[Path, str]

    def place(self, source: Path) -> str:
        """The path of `source`, or of something below one that is staged."""
        for staged, place in self.places.items():
            if source.is_relative_to(staged):
                return os.path.normpath(f"{place}/{source.relative_to(staged)}")
        return str(source)


NO_STAGE = Stage(None, {})
"""For a server that is not root: bubblewrap runs as the same user and reaches what the server reaches."""


async def set_stage(sources: Sequence[Path]) -> Stage:
    """Bind `sources` in a new namespace. Needs root; raises Unavailable if the host does not allow it."""
    place = _free_place(sources)
    if place is None:
        raise Unavailable(
            "no folder is free to show files to sandboxes", fix=f"make one of {' '.join(_PLACES)} a folder"
        )
    names = {source: f"{place}/{number}" for number, source in enumerate(sources)}
    pairs = [text for source, path in names.items() for text in (str(source), path.rpartition("/")[2])]
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh", place, *pairs]
    read_fd, write_fd = os.pipe()
    try:
        async with asyncio.timeout(20), spawn(command, stdout=write_fd, stderr=subprocess.DEVNULL) as process:
            os.close(write_fd)
            write_fd = -1
            if await asyncio.to_thread(os.read, read_fd, 1):
                return Stage(os.open(f"/proc/{process.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC), names)
    except (CommandFailed, TimeoutError, OSError) as error:
        raise Unavailable(f"mounting is not allowed: {error}", fix=_FIX) from error
    finally:
        os.close(read_fd)
        if write_fd >= 0:
            os.close(write_fd)
    raise Unavailable("root may not mount here", fix=_FIX, detail=f"failed: {command}")


_FIX = "give the container CAP_SYS_ADMIN, or run the server as an ordinary user"


def _free_place(sources: Sequence[Path]) -> str | None:
    """A folder that may be hidden, because no source lies in it."""
    for place in _PLACES:
        if Path(place).is_dir() and not any(source.is_relative_to(place) for source in sources):
            return place
    return None
