"""What the isolate backend needs of a host, and what to do about what it lacks."""

from __future__ import annotations

import os
import platform
import shutil

from caisson.backends.isolate.seccomp import supported
from caisson.errors import SandboxError, Unavailable
from caisson.host.process import CommandFailed, run

_USER_NAMESPACES_FIX = (
    "allow user namespaces: sysctl -w user.max_user_namespaces=65536 kernel.unprivileged_userns_clone=1 "
    "kernel.apparmor_restrict_unprivileged_userns=0 (those that exist here)"
)


async def check_host() -> dict[str, str]:
    """Facts about the host's tools. Raises Unavailable if one is missing."""
    if not supported():
        raise Unavailable(f"there is no system-call filter for {platform.machine()}", fix="use x86-64 or aarch64")
    needed = {"bwrap": "bubblewrap"}
    if os.getuid() == 0:
        needed |= {"nsenter": "util-linux", "unshare": "util-linux", "mount": "mount"}
    lacking = {package for program, package in needed.items() if shutil.which(program) is None}
    if lacking:
        names = " ".join(sorted(lacking))
        raise Unavailable(f"not installed: {names}", fix=f"apt-get install {names}")
    try:
        version = await run(["bwrap", "--version"])
    except CommandFailed as error:
        raise Unavailable(f"bubblewrap does not run: {error.message}", fix="apt-get install bubblewrap") from error
    return {"bubblewrap": version.stdout.decode().split()[-1]}


def explain(error: SandboxError) -> Unavailable:
    """Why no sandbox came up, from what the chain of programs said."""
    last = error.detail.strip().splitlines()[-1] if error.detail.strip() else error.message
    if any(text in error.detail for text in ("namespace", "uid map", "unshare")):
        return Unavailable(f"bubblewrap cannot make user namespaces here: {last}", fix=_USER_NAMESPACES_FIX)
    return Unavailable(f"no sandbox comes up: {last}", fix="see the server's log", detail=error.detail)
