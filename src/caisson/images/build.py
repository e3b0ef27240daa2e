"""Builds guest images from Debian packages: the same packages give the same bytes, anywhere, without root."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from caisson.host.process import CommandFailed, run
from caisson.host.shield import uninterrupted
from caisson.images import packages, tree
from caisson.images.catalog import Catalog, Image
from caisson.images.definitions import Definition
from caisson.images.errors import BuildFailed
from caisson.images.manifest import EROFS, ROOT, SBOM, Manifest, PackageRecord
from caisson.images.mmdebstrap import make_root
from caisson.images.progress import Progress, Report, silent
from caisson.images.turn import turn

logger = structlog.get_logger(__name__)

USER_ID = 1000
"""The unprivileged user `caisson` of every image."""
COMMAND_TIMEOUT_S = 1800
_NAMESPACE = uuid.UUID("0d7c2b9e-54f1-4a53-8f0b-3f6a4b9f1c77")
_LEFT_OUT = (
    "boot/*",
    "etc/.pwd.lock",
    "etc/apt",
    "etc/cron.*",
    "etc/dpkg",
    "etc/gshadow*",
    "etc/group-",
    "etc/logrotate.d",
    "etc/passwd-",
    "etc/shadow*",
    "etc/subgid*",
    "etc/subuid*",
    "run/*",
    "tmp/*",
    "usr/lib/systemd/system",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/debconf",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/pixmaps",
    "var/backups/*",
    "var/cache/*",
    "var/lib/apt",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/alternatives",
    "var/lib/dpkg/info",
    "var/lib/dpkg/lock*",
    "var/lib/dpkg/triggers",
    "var/lib/dpkg/updates",
    "var/log/*",
    "var/tmp/*",
)
"""Of no use in a sandbox, or different in every build."""
_FILES = {
    "etc/hostname": "sandbox\n",
    "etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "etc/ld.so.preload": "",
    "etc/machine-id": "",
    "etc/resolv.conf": "",
}
"""Files of every image. A sandbox may mount its own over them, which must not have to make them in the shared root."""
_UNPACK = ["tar", "--extract", "--no-same-owner", "--same-permissions", "--exclude=./dev/*"]
_PACK = ["mkfs.erofs", "--quiet", "-zlz4hc", "-x-1", "--all-root"]
_FOLDERS = {"caisson": 0o755, "work": 0o1777, "tmp": 0o1777, "var/tmp": 0o1777}


class Maker(Protocol):
    """What makes an image of a definition: `build`, or what makes a kernel."""

    async def __call__(
        self, catalog: Catalog, definition: Definition, /, *, mirror: str | None = None, report: Report = silent
    ) -> Image: ...


async def build(
    catalog: Catalog, definition: Definition, *, mirror: str | None = None, report: Report = silent
) -> Image:
    """Build an image and make it the current one of its name. Takes half a minute to some minutes.

    Raises BuildFailed; the catalogue is then as it was.
    """

    def step(text: str) -> None:
        report(Progress(definition.name, text))

    with catalog.staging() as folder:
        archive, root = folder / "root.tar", folder / ROOT
        step("starting mmdebstrap")
        await make_root(
            definition,
            archive,
            mirror=mirror,
            told=step,
        )
        step("unpacking the root")
        root.mkdir()
        await run_step([*_UNPACK, f"--file={archive}", f"--directory={root}"])
        archive.unlink()
        step("removing what no sandbox needs")
        # A thread goes on when its task is cancelled, and the folder must not be removed under its hands.
        records = await uninterrupted(asyncio.to_thread(_finish, root, definition))
        version = version_of(definition, records)
        (folder / SBOM).write_bytes(
            packages.spdx(definition.name, version, definition.suite, records, definition.epoch_s)
        )
        step("packing the block image")
        await pack(root, folder / EROFS, f"{definition.name} {version}", definition.epoch_s)
        step("measuring")
        manifest = Manifest(
            name=definition.name,
            version=version,
            arch=architecture(records),
            summary=definition.summary,
            files={name: await asyncio.to_thread(tree.hash_file, folder / name) for name in (EROFS, SBOM)},
            tree=await asyncio.to_thread(tree.measure, root),
            env=definition.env,
            packages=records,
            recipe=definition.digest,
        )
        image = await uninterrupted(asyncio.to_thread(catalog.install, folder, manifest))
    logger.info("image built", image=image.name, version=image.version, digest=image.digest)
    return image


async def ensure(
    catalog: Catalog,
    definition: Definition,
    *,
    make: Maker = build,
    mirror: str | None = None,
    report: Report = silent,
) -> Image:
    """The image of this definition: the one that is there, or one built now; of several callers one builds."""
    waiting = Progress(definition.name, "waiting for another process that builds it")
    async with turn(catalog.folder, definition.name, lambda: report(waiting)):
        for image in catalog.images():
            if image.name == definition.name and image.manifest.recipe == definition.digest:
                return image if catalog.is_current(image) else catalog.make_current(image)
        return await make(catalog, definition, mirror=mirror, report=report)


async def pack(root: Path, target: Path, label: str, epoch_s: int) -> None:
    """Make an erofs image of a folder, lz4-compressed, everything owned by root. Raises BuildFailed."""
    if shutil.which("mkfs.erofs") is None:
        raise BuildFailed("mkfs.erofs is not installed", fix="apt-get install erofs-utils")
    await run_step([*_PACK, f"-T{epoch_s}", f"-U{uuid.uuid5(_NAMESPACE, label)}", str(target), str(root)])


async def run_step(argv: list[str]) -> None:
    """Run one of a build's programs; raises BuildFailed."""
    try:
        await run(argv, timeout_s=COMMAND_TIMEOUT_S)
    except CommandFailed as error:
        raise BuildFailed(error.message, detail=error.detail) from error


def _finish(root: Path, definition: Definition) -> tuple[PackageRecord, ...]:
    """Turn a fresh Debian into an image's root; the packages it is made of."""
    records = packages.installed(root)
    for path in _matching(root, (*_LEFT_OUT, *definition.remove)):
        tree.remove(path)
    for name, text in _FILES.items():
        (root / name).unlink(missing_ok=True)
        (root / name).write_text(text)
    for name, mode in _FOLDERS.items():
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(mode)
    _add_line(root / "etc/passwd", f"caisson:x:{USER_ID}:{USER_ID}::/work:/bin/bash")
    _add_line(root / "etc/group", f"caisson:x:{USER_ID}:")
    tree.settle(root, definition.epoch_s)
    return records


def _matching(root: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from list(root.glob(pattern))


def _add_line(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line + "\n")


def version_of(definition: Definition, records: tuple[PackageRecord, ...]) -> str:
    """The main package's version, and a mark that changes with anything that went in."""
    main = next((record for record in records if record.name == definition.main_package), None)
    if main is None:
        raise BuildFailed(f"the image {definition.name} has no package {definition.main_package}")
    mark = hashlib.sha256(msgspec.json.encode((definition.digest, records), order="deterministic")).hexdigest()
    return f"{packages.upstream(main.version)}-{mark[:8]}"


def architecture(records: tuple[PackageRecord, ...]) -> str:
    """Debian's name of the architecture the packages are for."""
    return next(record.arch for record in records if record.arch != "all")
