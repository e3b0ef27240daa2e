"""Drives mmdebstrap, which makes a Debian root file system without root and without a mount on the host."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
from collections import deque
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path

from caisson.host.pipes import pieces
from caisson.host.process import SAFE_ENV, Process, run, spawn
from caisson.images.definitions import Definition
from caisson.images.errors import BuildFailed

TIMEOUT_S = 3600
TERMINATE_S = 15
KEPT_LINES = 60
_LINE_BYTES = 1 << 20
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_NEEDED_APT_OPTIONS = re.compile(r'^Acquire::(https?::|Check-|Retries|ForceIPv|Languages).* "[^"]+";$')
"""How this machine reaches its package servers; nothing that says which packages to trust."""
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")


_STEPS = {
    "I: running apt-get update": "fetching package lists",
    "I: downloading packages": "downloading packages",
    "I: extracting archives": "extracting packages",
    "I: installing essential": "installing essential packages",
    "I: installing remaining": "installing packages",
    "I: running --customize-hook": "preparing",
    "I: creating tarball": "writing the root",
}
"""What mmdebstrap says when it begins something, in words for those who wait."""


async def make_root(
    definition: Definition, target: Path, *, mirror: str | None = None, told: Callable[[str], None]
) -> None:
    """Write a tar archive of a fresh root to `target`. `told` is told of every step. Raises BuildFailed.

    Cancelled, it lets mmdebstrap remove what it left in the folder for temporary files.
    """
    if shutil.which("mmdebstrap") is None:
        raise BuildFailed("mmdebstrap is not installed", fix="apt-get install mmdebstrap uidmap")
    argv = await command(definition, target, mirror)
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    reader, writer = os.pipe()
    try:
        # When something fails it sends signals to its whole process group, which must not be ours.
        async with spawn(argv, env=_environment(definition), stdout=writer, stderr=writer, own_group=True) as process:
            os.close(writer)
            writer = -1
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await _read_lines(reader, lines, told)
                    code = await process.wait()
            except TimeoutError as error:
                await _terminate(process)
                raise BuildFailed(f"mmdebstrap took longer than {TIMEOUT_S} s", detail="\n".join(lines)) from error
            except BaseException:
                await _terminate(process)
                raise
    finally:
        if writer >= 0:
            os.close(writer)
        os.close(reader)
    if code != 0:
        raise BuildFailed(_why(lines, code), fix=_fix(lines), detail="\n".join(lines))


async def command(definition: Definition, target: Path, mirror: str | None) -> list[str]:
    """The command line. Unless a mirror is given, mmdebstrap knows where a suite and its updates are."""
    prepare = f'chroot "$1" /bin/sh -eu -c {shlex.quote(definition.prepare)}'
    return [
        "mmdebstrap",
        # Also for root: the packages' own scripts then do what they do in a user namespace.
        "--mode=unshare",
        "--variant=essential",
        "--format=tar",
        *([f"--include={','.join(definition.packages)}"] if definition.packages else []),
        # What is built is thrown away if the machine goes down meanwhile.
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        *[f"--aptopt={option}" for option in await apt_options()],
        *([f"--customize-hook={prepare}"] if definition.prepare.strip() else []),
        definition.suite,
        os.fspath(target),
        *([mirror] if mirror else []),
    ]


async def apt_options() -> list[str]:
    """This machine's own proxies and time-outs for apt; none where there is no apt."""
    if shutil.which("apt-config") is None:
        return []
    dump = await run(["apt-config", "dump", "--format", '%F "%v";%n', "Acquire"], check=False)
    return [line for line in dump.stdout.decode("utf-8", "replace").splitlines() if _NEEDED_APT_OPTIONS.match(line)]


def _environment(definition: Definition) -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name.lower() in _PROXIES or name == "TMPDIR"}
    return {**SAFE_ENV, **passed, "SOURCE_DATE_EPOCH": str(definition.epoch_s), "HOME": "/nonexistent"}


async def _read_lines(descriptor: int, lines: deque[str], told: Callable[[str], None]) -> None:
    """Pass on the output until its last writer is gone."""

    def tell(line: bytes) -> None:
        # Progress on one line comes with carriage returns.
        text = line.decode("utf-8", "replace").rstrip().rpartition("\r")[2]
        if text:
            lines.append(text)
            for said, step in _STEPS.items():
                if text.startswith(said):
                    told(step)

    rest = b""
    async with aclosing(pieces(descriptor)) as arriving:
        async for data in arriving:
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                tell(line)
            rest = rest[-_LINE_BYTES:]
    tell(rest)


async def _terminate(process: Process) -> None:
    """Ask it and all it started to end, and give it time to clean up; kill what is left then.

    Asked alone, it would wait for what it started, which would not know of it.
    """
    process.signal_group(signal.SIGTERM)
    with suppress(TimeoutError):
        async with asyncio.timeout(TERMINATE_S):
            await process.wait()
    process.signal_group(signal.SIGKILL)


def _why(lines: deque[str], code: int) -> str:
    errors = [line for line in lines if line.startswith("E: ")] or list(lines)[-3:]
    return f"mmdebstrap failed with code {code}: " + "; ".join(line.removeprefix("E: ") for line in errors)[-1000:]


def _fix(lines: deque[str]) -> str | None:
    text = "\n".join(lines)
    if "subuid" in text or "newuidmap" in text:
        return "apt-get install uidmap, and give this user ids: usermod --add-subuids 100000-165535 $USER"
    if "NO_PUBKEY" in text or "keyring" in text:
        return "apt-get install debian-archive-keyring"
    if "No space left" in text:
        return "free some room, or name another folder for temporary files with TMPDIR"
    if "Temporary failure resolving" in text or "Could not connect" in text:
        return "see whether this machine reaches its package servers: apt-get update"
    return None
