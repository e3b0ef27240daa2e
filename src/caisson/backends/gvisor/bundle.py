"""The OCI bundle of a sandbox: what runsc is told of its root, its mounts, and its first process, the agent.

The root is shared by all sandboxes of a runtime and never written to: over it lies memory of the sandbox's own. So is
`/work`, `/tmp` and `/dev/shm`, each at most as large as the disk; all of them together are watched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caisson.images.oci.config import Settings as ImageSettings
from caisson.sandbox.guest import AGENT, MEND
from caisson.sandbox.launch import INSIDE, WORK

HOSTNAME = "caisson"
_CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID", "SYS_NICE", "SYS_RESOURCE"),
        *("FSETID", "NET_BIND_SERVICE", "SETPCAP", "SYS_CHROOT"),
    )
)
"""What the agent needs to write files for, start and end processes of another user, who has none of them; and what an
image whose user is root expects. They are gVisor's to give, and count for nothing on the host."""
_CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class World:
    """What a sandbox is made of."""

    root: Path
    """Root file system on the host."""
    guest: Path
    """Becomes `/caisson`."""
    argv: Sequence[str]
    """The agent and its options, without the nonce."""
    env: Mapping[str, str]
    disk_mb: int
    netns: Path | None = None
    """A network namespace of the host's making; None: one with nothing but a loopback."""
    resolv_conf: str | None = None
    """Text of its /etc/resolv.conf, where it has a network."""
    mend_statx: bool = False
    """Have every program load what makes up for an old runsc's statx(2)."""


def agent_command(harness: Sequence[str], image: ImageSettings | None) -> list[str]:
    """The agent's command line, without its nonce: programs run as the image's user, or as nobody."""
    user = [] if image is None else [f"--user={image.uid}:{image.gid}"]
    waiting = ["--harness", *harness] if harness else []
    return [f"{INSIDE}/{AGENT}", "--channel=stdio", f"--work={WORK}", *user, *waiting]


def write_bundle(folder: Path, world: World, nonce: str) -> None:
    """Write the bundle for one sandbox. Raises OSError."""
    files = {}
    if world.resolv_conf is not None:
        files["/etc/resolv.conf"] = world.resolv_conf
    if world.mend_statx:
        files["/etc/ld.so.preload"] = f"{INSIDE}/{MEND}\n"
    shown = {}
    for number, (target, text) in enumerate(files.items()):
        shown[target] = folder / f"file-{number}"
        shown[target].write_text(text)
        shown[target].chmod(0o644)
    (folder / _CONFIG).write_text(json.dumps(_config(world, nonce, shown)))


def _config(world: World, nonce: str, files: Mapping[str, Path]) -> dict[str, Any]:
    network = {"type": "network"} if world.netns is None else {"type": "network", "path": str(world.netns)}
    return {
        "ociVersion": "1.0.2",
        "hostname": HOSTNAME,
        "root": {"path": str(world.root), "readonly": False},
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "args": [world.argv[0], f"--nonce={nonce}", *world.argv[1:]],
            "env": [f"{name}={value}" for name, value in world.env.items()],
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "noNewPrivileges": True,
        },
        "mounts": _mounts(world, files),
        "linux": {"namespaces": [network, *({"type": each} for each in ("pid", "ipc", "uts", "mount"))]},
    }


def _mounts(world: World, files: Mapping[str, Path]) -> list[dict[str, Any]]:
    def memory(target: str, mode: str) -> dict[str, Any]:
        options = ["nosuid", "nodev", f"mode={mode}", f"size={world.disk_mb}m"]
        return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options}

    def bind(target: str, source: Path) -> dict[str, Any]:
        return {"destination": target, "type": "bind", "source": str(source), "options": ["bind", "ro"]}

    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "size=1m"]},
        memory("/dev/shm", "1777"),  # noqa: S108 - inside a sandbox, where nobody else is
        memory("/tmp", "1777"),  # noqa: S108
        memory(WORK, "0777"),
        bind(INSIDE, world.guest),
        *(bind(target, source) for target, source in files.items()),
    ]
