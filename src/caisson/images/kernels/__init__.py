"""Guest kernels of micro-VMs: our own, built from Debian's source, and Debian's for clouds, which needs no build.

Both are images of the catalogue without a root file system. Each has `config`, the kernel's configuration, and what it
boots from: `vmlinux`, or `bzImage` and the modules that a guest needs before it can see its devices.
"""

from __future__ import annotations

import asyncio
from importlib.resources import files
from pathlib import Path

import structlog

from caisson.host.shield import uninterrupted
from caisson.images import packages, tree
from caisson.images.build import architecture, run_step, version_of
from caisson.images.catalog import Catalog, Image
from caisson.images.definitions import Definition
from caisson.images.errors import BuildFailed
from caisson.images.manifest import SBOM, FileRecord, Manifest
from caisson.images.mmdebstrap import make_root
from caisson.images.progress import Progress, Report, silent

logger = structlog.get_logger(__name__)

KERNEL = "kernel"
CLOUD_KERNEL = "kernel-cloud"
NAMES = (KERNEL, CLOUD_KERNEL)
VMLINUX = "vmlinux"
BZIMAGE = "bzImage"
CONFIG = "config"
ORDER = "modules"
"""Names of the module files, each after those it needs."""
_MODULES = (
    "virtio_mmio virtio_console virtio_blk crc32c_generic erofs ext4 overlay virtio_net vmw_vsock_virtio_transport"
)
FRAGMENT = files(__name__) / "guest.config"
"""What is chosen in our own kernel; everything else is off unless these need it."""
_PLACE = "kernel"
_STATUS = "var/lib/dpkg/status"
_SOURCE = "linux-source-6.1"
_TOOLS = ("bc", "bison", "flex", "gcc", "libc6-dev", "libelf-dev", "libssl-dev", "make", "perl", "xz-utils")
_BUILD = """
mkdir /build /{place}
tar --extract --file=/usr/src/{source}.tar.xz --directory=/build --strip-components=1
rm -r /usr/src
cat >/build/fragment <<'END'
{fragment}END
cd /build
export KBUILD_BUILD_TIMESTAMP="@$SOURCE_DATE_EPOCH" KBUILD_BUILD_USER=caisson KBUILD_BUILD_HOST=caisson
make --silent KCONFIG_ALLCONFIG=fragment allnoconfig
make --silent --jobs="$(nproc)" vmlinux
strip --strip-all -o /{place}/vmlinux vmlinux
cp .config /{place}/config
cd /
rm -r /build
"""
_UNPACK = """
mkdir /{place}
cp /boot/vmlinuz-* /{place}/bzImage
cp /boot/config-* /{place}/config
cd /lib/modules/*
for name in {modules}; do modprobe --set-version "$(basename "$PWD")" --show-depends "$name"; done |
  sed -n 's/^insmod \\([^ ]*\\).*/\\1/p' | awk '!seen[$0]++' |
  while read -r file; do
    name=$(basename "$file" .xz)
    case $file in
      *.xz) xz --decompress --stdout "$file" >"/{place}/$name" ;;
      *) cp "$file" "/{place}/$name" ;;
    esac
    echo "$name" >>/{place}/modules
  done
test -s /{place}/modules
"""


def definition(name: str) -> Definition:
    """How one of `NAMES` is made."""
    if name == KERNEL:
        return Definition(
            name=KERNEL,
            summary="Linux for micro-VMs, everything built in",
            suite="bookworm",
            packages=(_SOURCE, *_TOOLS),
            main_package=_SOURCE,
            prepare=_BUILD.format(place=_PLACE, source=_SOURCE, fragment=FRAGMENT.read_text()),
        )
    return Definition(
        name=CLOUD_KERNEL,
        summary="Debian's Linux for clouds, with the modules a micro-VM needs",
        suite="bookworm",
        # Something must provide an initramfs; this is the smallest, and its result is thrown away.
        packages=("linux-image-cloud-amd64", "tiny-initramfs", "xz-utils"),
        main_package="linux-image-cloud-amd64",
        prepare=_UNPACK.format(place=_PLACE, modules=_MODULES),
    )


async def build_kernel(
    catalog: Catalog, wanted: Definition, *, mirror: str | None = None, report: Report = silent
) -> Image:
    """Make a kernel and make it current. Ours takes 4 to 8 minutes on two cores, and 3 GiB of temporary files.

    Raises BuildFailed; the catalogue is then as it was.
    """

    def step(text: str) -> None:
        report(Progress(wanted.name, text))

    with catalog.staging() as folder:
        archive = folder / "root.tar"
        step("fetching packages")
        await make_root(wanted, archive, mirror=mirror, told=step)
        step("unpacking")
        inside = folder / "inside"
        inside.mkdir()
        members = [f"./{_PLACE}", f"./{_STATUS}"]
        await run_step(["tar", "--extract", "--no-same-owner", f"--file={archive}", f"--directory={inside}", *members])
        archive.unlink()
        # A thread goes on when its task is cancelled, and the folder must not be removed under its hands.
        manifest = await uninterrupted(asyncio.to_thread(_finish, folder, inside, wanted))
        image = await uninterrupted(asyncio.to_thread(catalog.install, folder, manifest))
    logger.info("kernel built", image=image.name, version=image.version, digest=image.digest)
    return image


def unmet(fragment: str, config: str) -> list[str]:
    """Lines of a fragment that a configuration does not follow: Kconfig drops without a word what it cannot have."""
    given = set(config.splitlines())
    return [
        line
        for line in filter(None, fragment.splitlines())
        if (line.removesuffix("n") + "y" in given if line.endswith("=n") else line not in given)
    ]


def _finish(folder: Path, inside: Path, wanted: Definition) -> Manifest:
    records = packages.installed(inside)
    for path in (inside / _PLACE).iterdir():
        path.chmod(0o644)
        path.rename(folder / path.name)
    tree.remove(inside)
    if wanted.name == KERNEL:
        lacking = unmet(FRAGMENT.read_text(), (folder / CONFIG).read_text())
        if lacking:
            raise BuildFailed(f"the kernel came out without {', '.join(lacking)}")
    version = version_of(wanted, records)
    (folder / SBOM).write_bytes(packages.spdx(wanted.name, version, wanted.suite, records, wanted.epoch_s))
    found: dict[str, FileRecord] = {path.name: tree.hash_file(path) for path in sorted(folder.iterdir())}
    return Manifest(
        name=wanted.name,
        version=version,
        arch=architecture(records),
        summary=wanted.summary,
        files=found,
        packages=records,
        recipe=wanted.digest,
    )
