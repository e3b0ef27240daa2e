"""The lab's disk image: a Debian with a kernel, QEMU and the tests' Python packages, made once for what it is made of.

The project itself is not in it: `payload` packs the work tree as it is now into a second image, in a second.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "lab"
GUEST = Path(__file__).parent / "guest"
SUITE = "bookworm"
PYTHON = "3.11"
"""What the suite ships; wheels are chosen for it, whatever Python the host has."""
PACKAGES = [
    "bubblewrap",
    "ca-certificates",
    "erofs-utils",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-amd64",
    "nftables",
    "procps",
    "python3",
    "qemu-system-x86",
    "zstd",
]
# Enough to find the root; the rest is loaded from there.
INITRAMFS_MODULES = ["virtio_pci", "virtio_blk", "ext4", "overlay"]
PAYLOAD_BYTES = 2 << 30
LAYOUT = "1"
"""Changes with how the image is laid out, so that one made the old way is not used."""


class LabUnavailable(Exception):
    """The lab cannot be made or started here; says why."""


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image: what QEMU is given."""

    folder: Path

    @property
    def kernel(self) -> Path:
        """The guest's Linux, as Debian ships it."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Finds the root and mounts it read-only."""
        return self.folder / "initrd"

    @property
    def disk(self) -> Path:
        """The root, an ext4 file system that the guest never writes to."""
        return self.folder / "root.ext4"


def key() -> str:
    """Changes with everything the image is made of."""
    digest = hashlib.sha256()
    for text in [LAYOUT, SUITE, PYTHON, *PACKAGES, *INITRAMFS_MODULES]:
        digest.update(text.encode() + b"\0")
    for path in [ROOT / "requirements" / "test.txt", *sorted(GUEST.iterdir())]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def find() -> Image | None:
    """The image for the present key, if it was made."""
    image = Image(CACHE / key())
    return image if image.disk.exists() else None


def make(say: Callable[[str], None] = print) -> Image:
    """Make the image if it is not there; other images of the lab are removed. Needs root. Raises LabUnavailable."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with _locked(CACHE / "lock"):
        found = find()
        if found is not None:
            return found
        if os.geteuid() != 0:
            raise LabUnavailable("making the lab's image needs root")
        lacking = [name for name in ("mmdebstrap", "mkfs.ext4", "qemu-system-x86_64") if shutil.which(name) is None]
        if lacking:
            raise LabUnavailable(f"making the lab needs {', '.join(lacking)}")
        with tempfile.TemporaryDirectory(prefix="making-", dir=CACHE) as folder:
            work = Path(folder)
            _make(work, say)
            for old in CACHE.iterdir():
                if old.is_dir() and old != work:
                    shutil.rmtree(old)
            final = CACHE / key()
            final.mkdir()
            # The disk last: it is what tells a finished image.
            for name in ("vmlinuz", "initrd", "root.ext4"):
                (work / name).rename(final / name)
        return Image(final)


def _make(work: Path, say: Callable[[str], None]) -> None:
    root = work / "root"
    say(f"lab: installing a Debian {SUITE} (a minute or two)")
    _install(root)
    say("lab: adding the tests' Python packages")
    _add_packages(root)
    for name in ("init", "server.py"):
        target = root / "lab" / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(GUEST / name, target)
        target.chmod(0o755)
    boot = root / "boot"
    shutil.move(next(boot.glob("vmlinuz-*")), work / "vmlinuz")
    shutil.move(next(boot.glob("initrd.img-*")), work / "initrd")
    say("lab: making the file system")
    disk = work / "root.ext4"
    with disk.open("wb") as file:
        file.truncate(8 << 30)
    _run(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-d", str(root), str(disk)])
    shutil.rmtree(root)


def _install(root: Path) -> None:
    hooks = [
        "--essential-hook=mkdir -p $1/etc/initramfs-tools/conf.d",
        "--essential-hook=echo MODULES=list > $1/etc/initramfs-tools/conf.d/lab",
        "--essential-hook=echo COMPRESS=zstd >> $1/etc/initramfs-tools/conf.d/lab",
        f"--essential-hook=printf '%s\\n' {' '.join(INITRAMFS_MODULES)} > $1/etc/initramfs-tools/modules",
    ]
    lines = (line for file in Path("/etc/apt/apt.conf.d").iterdir() for line in file.read_text().splitlines())
    options = [f"--aptopt={line}" for line in lines if line.startswith("Acquire::") and line.endswith(";")]
    options += ["--aptopt=Apt::Install-Recommends false", "--dpkgopt=path-exclude=/usr/share/doc/*"]
    options += ["--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/man/*"]
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    # The host's own list says how this machine reaches Debian, if it is of the same suite.
    given = [str(sources)] if sources.exists() and SUITE in sources.read_text() else []
    include = ",".join(PACKAGES)
    _run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={include}",
            *hooks,
            *options,
            SUITE,
            str(root),
            *given,
        ]
    )


def _add_packages(root: Path) -> None:
    # Every tag that the suite's C library, 2.36, can serve: pip takes no "at most".
    tags = [f"manylinux_2_{minor}" for minor in range(36, 16, -1)] + ["manylinux2014"]
    platforms = [f"--platform={tag}_x86_64" for tag in tags]
    pip = [sys.executable, "-m", "pip", "install", "--no-input", "--quiet", "--disable-pip-version-check"]
    choice = [f"--python-version={PYTHON}", "--implementation=cp", *platforms, "--only-binary=:all:", "--no-deps"]
    target = ["--target", str(root / "lab" / "packages"), "--no-compile"]
    _run([*pip, *choice, *target, "--require-hashes", "-r", str(ROOT / "requirements" / "test.txt")])
    # By the suite's own Python; in an emulated machine this would take minutes, time and again.
    _run(["chroot", str(root), "python3", "-m", "compileall", "-q", "-j0", "/lab/packages"])


def payload(target: Path, extra: dict[str, Path]) -> None:
    """Write an erofs image with the work tree as `/repo`, and each of `extra` under its name."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        stage = Path(folder)
        (stage / "repo").mkdir()
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file():
                copy = stage / "repo" / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, copy)
        for name, source in extra.items():
            copy = stage / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir() and not source.is_symlink():
                shutil.copytree(source, copy, symlinks=True)
            else:
                shutil.copy(source, copy, follow_symlinks=False)
        if f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON:
            # Else the lab compiles them itself, which takes it a minute each time.
            for name in ("repo/src", "repo/tests"):
                _run(
                    [sys.executable, "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash", str(stage / name)]
                )
        target.unlink(missing_ok=True)
        _run(["mkfs.erofs", "--quiet", str(target), str(stage)])
        # Always the same size, because a lab that continues a snapshot goes on believing in the size it saw.
        with target.open("r+b") as file:
            if target.stat().st_size > PAYLOAD_BYTES:
                raise LabUnavailable(f"{target} is larger than {PAYLOAD_BYTES >> 20} MiB")
            file.truncate(PAYLOAD_BYTES)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        said = done.stdout.decode(errors="replace")
        raise LabUnavailable(f"{command[0]} failed with code {done.returncode}:\n{said[-4000:]}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
