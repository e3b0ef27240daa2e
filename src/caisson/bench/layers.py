"""Ways to give a machine a root it may write to, and what each costs the host before the machine starts."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import perf_counter

from caisson.backends.microvm.disk import blank_disk, copy_disk
from caisson.bench.figure import Figure, Row, Unmeasured
from caisson.bench.load import LoadError, Sample
from caisson.host.process import CommandFailed, run

_FICLONE = 0x40049409
"""linux/fs.h: share another file's blocks."""
_PIECE_BYTES = 1 << 20


async def compare_layers(image: Path, disk_mb: int, folder: Path, count: int) -> AsyncIterator[Row]:
    """A full copy of the image, a reflink of it, a qcow2 on top of it, and what is done: a sparse disk beside it.

    All in `folder`, which lies on the file system that is told with the figures.
    """
    base = folder / "base"
    await asyncio.to_thread(shutil.copyfile, image, base)
    where = f"writable layer of a {base.stat().st_size >> 20} MiB image on {file_system(folder)}"
    try:
        blank = await blank_disk(folder, disk_mb)
    except CommandFailed as error:
        raise LoadError(f"no empty disk could be made: {error}") from error
    overlay = await _timed(lambda target: copy_disk(blank, target), folder, count)
    yield Figure(
        f"{where}: overlay with a sparse disk of {disk_mb} MiB, as is done, p50", overlay.percentile(0.5), "ms"
    )
    copies = await _timed(lambda target: copy_all(base, target), folder, count)
    yield Figure(f"{where}: full copy, p50", copies.percentile(0.5), "ms")
    try:
        links = await _timed(lambda target: reflink(base, target), folder, count)
        yield Figure(f"{where}: reflink, p50", links.percentile(0.5), "ms")
    except OSError as error:
        yield Unmeasured(f"{where}: reflink", f"this file system does not share blocks ({error.strerror})")
    if shutil.which("qemu-img") is None:
        yield Unmeasured(f"{where}: qcow2", "qemu-img is not installed (apt-get install qemu-utils)")
    else:
        tops = await _qcow2(base, folder, count)
        yield Figure(f"{where}: qcow2 on top of it, p50", tops.percentile(0.5), "ms")


def copy_all(source: Path, target: Path) -> None:
    """Every byte, as a file system without sharing has to, and none shared behind our back."""
    with source.open("rb") as given, target.open("xb") as made:
        while piece := given.read(_PIECE_BYTES):
            made.write(piece)


def reflink(source: Path, target: Path) -> None:
    """A file that shares the other's blocks until one is written to. Raises OSError where that cannot be."""
    with source.open("rb") as given, target.open("xb") as made:
        fcntl.ioctl(made, _FICLONE, given.fileno())


def file_system(folder: Path) -> str:
    """The kind of file system a folder lies on, such as `ext4`."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == wanted:
            return source.split()[0]
    return "an unknown file system"


async def _timed(make: Callable[[Path], None], folder: Path, count: int) -> Sample:
    sample = Sample()
    target = folder / "target"
    for _ in range(count):
        began_at = perf_counter()
        try:
            await asyncio.to_thread(make, target)
            sample.latencies_ms.append((perf_counter() - began_at) * 1000)
        finally:
            target.unlink(missing_ok=True)
    return sample


async def _qcow2(base: Path, folder: Path, count: int) -> Sample:
    sample = Sample()
    target = folder / "target"
    for _ in range(count):
        began_at = perf_counter()
        try:
            await run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(target)])
            sample.latencies_ms.append((perf_counter() - began_at) * 1000)
        except CommandFailed as error:
            raise LoadError(f"qemu-img: {error}") from error
        finally:
            target.unlink(missing_ok=True)
    return sample
