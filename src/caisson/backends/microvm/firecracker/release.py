"""Fetches Firecracker and its jailer: one pinned release, named with its digest in the manifest beside this file.

Nothing that came from a network is unpacked before its bytes are the expected ones, and what is there is whole.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from caisson.errors import Unavailable
from caisson.host.shield import uninterrupted
from caisson.images.download import Pinned, download
from caisson.images.errors import DownloadFailed
from caisson.images.progress import Progress, Report, silent
from caisson.images.turn import turn

MANIFEST = Path(__file__).with_name("release.json")
MAX_BYTES = 64 << 20
NAME = "firecracker"
_PROGRAM_BYTES = 64 << 20


class Archive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One archive, and where the two programs lie in it."""

    url: str
    sha256: str
    firecracker: str
    jailer: str


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version, and its archive for each kind of processor."""

    version: str
    archives: dict[str, Archive]


@dataclass(frozen=True, slots=True)
class Fetched:
    """Both programs of a release, in the folder for downloads."""

    firecracker: Path
    jailer: Path


def read_manifest(path: Path = MANIFEST) -> Release:
    """The release to use. Raises Unavailable if an operator's own manifest cannot be read."""
    try:
        release = msgspec.json.decode(path.read_bytes(), type=Release)
    except (OSError, msgspec.DecodeError) as error:
        raise Unavailable(f"{path} does not describe a release of Firecracker: {error}", fix=f"mend {path}") from error
    for archive in release.archives.values():
        if len(archive.sha256) != 64 or not set(archive.sha256) <= set("0123456789abcdef"):
            raise Unavailable(f"{path} lacks the SHA-256 of {archive.url}", fix="add the one that its publisher names")
    return release


def fetched(release: Release, folder: Path) -> Fetched | None:
    """What an earlier `fetch` left in the folder for downloads."""
    found = _places(release, folder)
    return found if found.firecracker.exists() and found.jailer.exists() else None


async def fetch(release: Release, folder: Path, report: Report = silent) -> Fetched:
    """Download and unpack the release into the folder, unless it is there. Raises Unavailable, with what to do."""
    if (found := fetched(release, folder)) is not None:
        return found
    archive = release.archives.get(platform.machine())
    if archive is None:
        raise Unavailable(f"there is no release of Firecracker for {platform.machine()}", fix="use QEMU")
    label = f"Firecracker {release.version}"
    waiting = Progress(label, "waiting for another process that fetches it")
    try:
        async with turn(folder, f"{NAME}.fetch", lambda: report(waiting)):
            if (found := fetched(release, folder)) is not None:
                return found
            pinned = Pinned(archive.url, archive.sha256, MAX_BYTES)
            target = folder / f"firecracker-{release.version}.tgz"
            await download(pinned, target, name=NAME, label=label, report=report)
            # A thread goes on when its task is cancelled, and the next in turn must not meet it.
            await uninterrupted(asyncio.to_thread(_unpack, target, archive, _places(release, folder)))
            target.unlink(missing_ok=True)
    except DownloadFailed as error:
        raise Unavailable(f"Firecracker could not be fetched: {error.message}", fix=by_hand(release)) from error
    except (OSError, tarfile.TarError, KeyError) as error:
        raise Unavailable(f"Firecracker could not be unpacked into {folder}: {error}", fix=by_hand(release)) from error
    return _places(release, folder)


def by_hand(release: Release) -> str:
    """What to do on a machine that cannot, or may not, download."""
    archive = release.archives.get(platform.machine())
    if archive is None:
        return "set CAISSON_FIRECRACKER_BIN and CAISSON_JAILER_BIN to programs for this machine"
    return (
        f"fetch {archive.url} elsewhere, check that its SHA-256 is {archive.sha256}, unpack it, and set "
        f"CAISSON_FIRECRACKER_BIN and CAISSON_JAILER_BIN to {archive.firecracker} and {archive.jailer} in it"
    )


def _places(release: Release, folder: Path) -> Fetched:
    # The jailer insists on a name with `firecracker` in it, and names the machines' folders after it.
    home = folder / f"firecracker-{release.version}-{platform.machine()}"
    return Fetched(home / "firecracker", home / "jailer")


def _unpack(source: Path, archive: Archive, places: Fetched) -> None:
    """Both programs, or none, in one step."""
    home = places.firecracker.parent
    with (
        tempfile.TemporaryDirectory(prefix=".unpacking-", dir=home.parent) as name,
        tarfile.open(source, "r:gz") as tar,
    ):
        work = Path(name) / "programs"
        work.mkdir()
        for member, place in ((archive.firecracker, places.firecracker), (archive.jailer, places.jailer)):
            content = tar.extractfile(member)
            if content is None:
                raise KeyError(f"{member} is not a file")
            with (work / place.name).open("wb") as file:
                shutil.copyfileobj(content, file)
                if file.tell() > _PROGRAM_BYTES:
                    raise OSError("it is larger than it can be")
                os.fchmod(file.fileno(), 0o755)
        if home.exists():  # half of it, of an older making
            shutil.rmtree(home)
        work.rename(home)
