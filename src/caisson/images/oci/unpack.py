"""From a layout to a root folder: umoci in a jail, under limits, and what is taken out of the result."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from caisson.host.pipes import readable
from caisson.host.process import CommandFailed, run
from caisson.host.shield import uninterrupted
from caisson.images import tree
from caisson.images.oci.errors import NoSuchImage, OciError, RegistryTrouble
from caisson.images.oci.skopeo import TAG

MAX_ENTRIES = 1_000_000
MOUNT_POINTS = ("proc", "sys", "dev", "tmp", "work", "caisson")
"""Folders that a sandbox lays something over."""
SHOWN_FILES = ("hosts", "resolv.conf", "hostname")
"""Files below /etc that a sandbox lays something over."""
_WATCH_S = 0.5
_DEATH_S = 10.0
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP")


class _TooLarge(Exception):
    """What is being unpacked is more than may be."""


async def unpack(layout: Path, blobs: Path, root: Path, *, max_bytes: int, timeout_s: float) -> None:
    """Make `root`, which must not exist, from a layout beside it. Raises OciError, and leaves `root` to the caller."""
    command = [*_jail(layout.parent, blobs), f"--fsize={max_bytes}", "--", "umoci", "raw", "unpack"]
    rootless = ["--rootless"] if os.geteuid() != 0 else []
    failure: OciError | None = None
    try:
        async with _until_all_have_ended() as held, asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(_watch(root, max_bytes))
            command += [*rootless, "--image", f"{layout}:{TAG}", str(root)]
            done = await run(command, timeout_s=timeout_s, check=False, pass_fds=[held])
            watch.cancel()
    except* _TooLarge:
        failure = NoSuchImage(f"the image is larger than {max_bytes >> 20} MiB when unpacked")
    except* CommandFailed as group:
        error = group.exceptions[0]
        assert isinstance(error, CommandFailed)  # noqa: S101 - what `except*` has just said
        if "could not be started" in error.message:
            failure = RegistryTrouble("umoci or bwrap is not installed: apt-get install umoci bubblewrap")
        else:
            failure = NoSuchImage(f"the image was not unpacked within {timeout_s:g} s", detail=error.detail)
    if failure is not None:
        raise failure
    if done.code != 0:
        raise _explain(done.stderr.decode("utf-8", "replace"), max_bytes)
    # A thread goes on when its task is cancelled, and the caller then removes what it works on.
    entries, size = await uninterrupted(asyncio.to_thread(_clean, root))
    if size > max_bytes or entries > MAX_ENTRIES:
        raise NoSuchImage(f"the image is larger than {max_bytes >> 20} MiB when unpacked")


@asynccontextmanager
async def _until_all_have_ended() -> AsyncIterator[int]:
    """A descriptor for the jail's processes to hold; leaving waits until none of them has it any more.

    The death of bwrap is the end of all in its pid namespace, but only a moment later, in which umoci goes on writing.
    """
    read_fd, write_fd = os.pipe()
    try:
        yield write_fd
    finally:
        os.close(write_fd)
        try:
            await uninterrupted(_closed(read_fd))
        finally:
            os.close(read_fd)


async def _closed(read_fd: int) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_DEATH_S):
            await readable(read_fd)


def make_workdir(root: Path, workdir: str, uid: int, gid: int) -> None:
    """Make the folder a program is to begin in where the image has none, without following any link."""
    path = root
    for part in workdir.split("/"):
        if part in ("", ".", ".."):
            continue
        path /= part
        if path.is_symlink():
            return
        if not path.exists():
            path.mkdir(mode=0o755)
            if os.geteuid() == 0:
                os.chown(path, uid, gid)
        elif not path.is_dir():
            return


def _jail(folder: Path, blobs: Path) -> list[str]:
    """A view of this host in which only `folder` can be written to: whatever a tar says, it stays in there."""
    # bwrap makes no mount point below a symbolic link, and a folder of images may well be one.
    inside, beside = str(folder.resolve()), str(blobs.resolve())
    jail = ["bwrap", "--ro-bind", "/", "/", "--bind", inside, inside, "--ro-bind", beside, beside]
    jail += ["--dev", "/dev", "--unshare-net", "--unshare-ipc", "--unshare-pid", "--die-with-parent", "--new-session"]
    if os.geteuid() == 0:
        # Owners are kept, which only root can; device files are made, cannot be opened here, and are taken out again.
        jail += [word for name in _CAPABILITIES for word in ("--cap-add", f"CAP_{name}")]
    return [*jail, "--", "prlimit"]


def _explain(stderr: str, max_bytes: int) -> OciError:
    words = stderr.strip()
    lines = [line for line in words.splitlines() if line.strip()] or ["it said nothing"]
    last = lines[-1][-300:]
    if "no space left" in words or "disk quota" in words:
        return RegistryTrouble("there is no room for the image on this server's disk", detail=words)
    if "file too large" in words:
        return NoSuchImage(f"the image is larger than {max_bytes >> 20} MiB when unpacked", detail=words)
    return NoSuchImage(f"the image cannot be unpacked: {last}", detail=words)


async def _watch(root: Path, max_bytes: int) -> None:
    while True:
        await asyncio.sleep(_WATCH_S)
        entries, size = await asyncio.to_thread(_measure, root)
        if size > max_bytes or entries > MAX_ENTRIES:
            raise _TooLarge


def _measure(root: Path) -> tuple[int, int]:
    """Number of entries and bytes on disk of a folder that changes meanwhile."""
    entries = size = 0
    waiting = [os.fspath(root)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    status = entry.stat(follow_symlinks=False)
                    entries += 1
                    size += status.st_blocks * 512
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(entry.path)
        except OSError:
            continue
    return entries, size


def _clean(root: Path) -> tuple[int, int]:
    """Take out special files, make what sandboxes mount over, and count what is left."""
    entries = size = 0
    for path, status in _walk(root):
        kind = stat.S_IFMT(status.st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            path.unlink()
            continue
        if kind == stat.S_IFREG and status.st_mode & 0o6000:
            # Nobody in a sandbox may gain anything by them, and nobody on this host shall.
            path.chmod(stat.S_IMODE(status.st_mode) & 0o1777)
        entries += 1
        size += status.st_blocks * 512
    root.chmod(stat.S_IMODE(root.stat().st_mode) | 0o555)
    for name in MOUNT_POINTS:
        _make_folder(root / name)
    etc = root / "etc"
    _make_folder(etc)
    for name in SHOWN_FILES:
        path = etc / name
        if path.is_symlink() or not path.is_file():
            tree.remove(path)
            path.touch(mode=0o644)
    return entries, size


def _make_folder(path: Path) -> None:
    """A folder, and not a link to one, which might lead anywhere."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        path.mkdir(mode=0o755)


def _walk(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        if os.geteuid() != 0:
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o700)
        with os.scandir(folder) as found:
            for entry in list(found):
                status = entry.stat(follow_symlinks=False)
                yield Path(entry.path), status
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(Path(entry.path))
