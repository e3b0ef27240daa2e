"""runsc, gVisor's program: which one is here, what it can do, and how it is called."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from caisson.errors import Unavailable
from caisson.host.process import CommandFailed, run

PLATFORMS = ("systrap", "ptrace", "kvm")
"""How gVisor catches system calls, best first. `kvm` comes last: it may hang where virtualisation is crippled."""
_NEEDED_FLAGS = ("ignore-cgroups", "network", "platform", "root", "rootless")
_STATX_WORKS = "20240101"
_PATIENCE_S = 10.0
_SIGN = "/proc/sys/net/core/rmem_default"
_HIDING = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro tmpfs /proc/sys/net && exec "$@"', "sh")
"""Becomes what follows, in a mount namespace of its own without the sign. Not `/proc/sys/net/core` alone: that folder
is another one in each network namespace."""
_FIX = "apt-get install runsc (Debian), or a release of gVisor's own; name it in CAISSON_RUNSC"


@dataclass(frozen=True, slots=True)
class Runsc:
    """A runsc that answers."""

    path: str
    version: str
    platforms: tuple[str, ...]
    """Those this build has, in the order of `PLATFORMS`."""
    flags: frozenset[str]

    @property
    def rootless(self) -> bool:
        """The server is no root, so neither can its sandboxes' outer processes be."""
        return os.geteuid() != 0

    @property
    def needs_statx_mended(self) -> bool:
        """Its statx(2) refuses what `ls` asks; see `guest/mend/statx.c`."""
        built = re.search(r"20[0-9]{6}", self.version)
        return built is not None and built.group() < _STATX_WORKS

    def command(self, platform: str, folder: Path, *, network: str, debug: bool, hide: bool = False) -> list[str]:
        """`runsc run`, complete but for the sandbox's id, with bundle, state and logs in `folder`.

        `hide`: keep from it what it mistakes for a sign of the host's own network, see `mistakes_namespaces`.
        """
        flags = {
            "root": str(folder / "state"),
            "platform": platform,
            "network": network,
            "ignore-cgroups": "true",
            "debug-log": f"{folder / 'logs'}/",
            "panic-log": str(folder / "logs" / "panic.txt"),
            "debug": str(debug).lower(),
            # The root is shared and never written to: what it holds may be cached without asking.
            "file-access": "exclusive",
            # What is written to it all the same goes to memory of the sandbox's own, and nothing is copied before.
            "overlay2": "root:memory",
        }
        if self.rootless:
            flags["rootless"] = "true"
        known = [f"--{name}={value}" for name, value in flags.items() if name in self.flags]
        return [*(_HIDING if hide else ()), self.path, *known, "run", f"--bundle={folder}"]


async def mistakes_namespaces() -> bool:
    """Does runsc take every network namespace for the host's own, and refuse it?

    It looks for a file that the kernel showed in the first namespace only, and nowadays shows in all.
    """
    looking = ["unshare", "--net", "test", "-e", _SIGN]
    return (await run(looking, timeout_s=_PATIENCE_S, check=False)).code == 0


async def find_runsc(name: str) -> Runsc:
    """The runsc of that name or path. Raises Unavailable if there is none that answers and can do what is needed."""
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"{name} is not installed", fix=_FIX)
    try:
        version = (await run([path, "--version"], timeout_s=_PATIENCE_S)).stdout.decode("utf-8", "replace")
        told = await run([path, "flags"], timeout_s=_PATIENCE_S, check=False)
    except CommandFailed as error:
        raise Unavailable(f"{path} does not run: {error.message}", fix=_FIX, detail=error.detail) from error
    listing = (told.stdout + told.stderr).decode("utf-8", "replace")
    flags = frozenset(re.findall(r"^\s+-([a-z0-9-]+)\b", listing, re.MULTILINE))
    lacking = [flag for flag in _NEEDED_FLAGS if flag not in flags]
    if "runsc version" not in version or lacking:
        wrong = f"lacks {', '.join(lacking)}" if lacking else "does not say that it is runsc"
        raise Unavailable(f"{path} is no runsc that can be used: it {wrong}", fix=_FIX)
    named = re.search(r"which platform to use: (.*)", listing)
    words = re.findall(r"[a-z]+", named.group(1)) if named else ["ptrace"]
    platforms = tuple(platform for platform in PLATFORMS if platform in words)
    return Runsc(path, version.split()[2], platforms, flags)
