"""Finds the Firecracker and the jailer to use on this host: named by settings, fetched earlier, or installed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import structlog

from caisson.backends.microvm.firecracker import release as releases
from caisson.backends.microvm.firecracker.jailer import Programs
from caisson.backends.microvm.firecracker.plan import Rates
from caisson.backends.microvm.firecracker.vmm import FirecrackerVmm
from caisson.errors import Unavailable
from caisson.host.process import CommandFailed, run
from caisson.images.progress import Report, silent
from caisson.settings import Settings

logger = structlog.get_logger(__name__)

OLDEST = (1, 16)
"""Earlier ones cannot limit what a guest writes to its console."""
_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_MIB = 1 << 20


async def find_firecracker(settings: Settings, *, may_fetch: bool, report: Report = silent) -> FirecrackerVmm:
    """The VMM, ready for use. Raises Unavailable, which says what would help.

    With `may_fetch` what is missing is downloaded, unless the settings forbid that.
    """
    programs = await _programs(settings, may_fetch and settings.auto_download, report)
    version = await _version(programs.firecracker)
    if programs.jailer is not None:
        of_jailer = await _version(programs.jailer)
        if of_jailer != version:
            raise Unavailable(
                f"{programs.firecracker} is version {version}, and its jailer {of_jailer}",
                fix="set CAISSON_JAILER_BIN to the jailer of the same release",
            )
    elif os.geteuid() == 0:
        logger.warning("Firecracker runs as root and without its jailer, because CAISSON_JAILER is off")
    mb_s = (settings.microvm_disk_mb_s * _MIB, settings.microvm_network_mb_s * _MIB)
    return FirecrackerVmm(programs, version, Rates(*mb_s))


def downloads(settings: Settings) -> Path:
    """The folder that programs are downloaded to."""
    return settings.data_dir / "programs"


async def _programs(settings: Settings, may_fetch: bool, report: Report) -> Programs:
    jailed = settings.jailer and os.geteuid() == 0
    release = releases.read_manifest(settings.firecracker_release or releases.MANIFEST)
    earlier = releases.fetched(release, downloads(settings))
    firecracker = _named("CAISSON_FIRECRACKER_BIN", settings.firecracker_bin)
    jailer = _named("CAISSON_JAILER_BIN", settings.jailer_bin) if jailed else None
    if firecracker is None and earlier is None:
        firecracker = _installed("firecracker")
    if firecracker is None:
        if earlier is None and not may_fetch:
            raise Unavailable("Firecracker is not installed", fix=releases.by_hand(release))
        if earlier is None:
            logger.info("fetching Firecracker", version=release.version, folder=str(downloads(settings)))
        earlier = earlier or await releases.fetch(release, downloads(settings), report)
        firecracker = earlier.firecracker
        jailer = jailer or (earlier.jailer if jailed else None)
    if jailed and jailer is None:
        beside = firecracker.with_name("jailer")
        jailer = beside if beside.is_file() else _installed("jailer")
        if jailer is None:
            raise Unavailable(
                "Firecracker's jailer is not installed",
                fix="set CAISSON_JAILER_BIN to it, or CAISSON_JAILER=0 to do without",
            )
    return Programs(firecracker, jailer)


def _named(setting: str, path: Path | None) -> Path | None:
    if path is not None and not os.access(path, os.X_OK):
        raise Unavailable(f"{setting} names {path}, which is no program", fix=f"set {setting} to one, or not at all")
    return None if path is None else path.resolve()


def _installed(name: str) -> Path | None:
    found = shutil.which(name)
    return None if found is None else Path(found).resolve()


async def _version(program: Path) -> str:
    try:
        said = (await run([str(program), "--version"], timeout_s=10)).stdout.decode("utf-8", "replace")
    except CommandFailed as error:
        raise Unavailable(f"{program} does not run: {error}", fix="use the release for this machine") from error
    found = _VERSION.search(said)
    if found is None:
        raise Unavailable(f"{program} tells no version", fix="use a release of Firecracker")
    version = (int(found[1]), int(found[2]), int(found[3]))
    if version[:2] < OLDEST:
        oldest = ".".join(str(number) for number in OLDEST)
        raise Unavailable(f"{program} is {found[0]}, older than {oldest}", fix=f"use Firecracker {oldest} or newer")
    return found[0].removeprefix("v")
