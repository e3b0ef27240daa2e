"""The programs that put a Firecracker into its jail, as one command line.

Bubblewrap makes the namespaces (process ids, network, IPC, host name, and mounts, in which inputs are shown) and tells
the process id; Firecracker's own jailer then makes its chroot there, with the devices, and becomes an ordinary user.
Control groups are the backend's business and need neither; Firecracker filters its system calls itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caisson.backends.microvm.firecracker.root import Bind
from caisson.host.birthmark import mark_name, own_mark

OPEN_FILES = 256
API_SOCKET = "api.sock"
LOG = "log.fifo"
METRICS = "metrics.fifo"
_NAME_BYTES = 64


@dataclass(frozen=True, slots=True)
class Programs:
    """Where Firecracker is, and its jailer; None where it is not to be jailed."""

    firecracker: Path
    jailer: Path | None


def root_folder(programs: Programs, home: Path, id: str) -> Path:
    """Where the jailer expects, or makes, the root of this machine's jail."""
    if programs.jailer is None:
        return home / "firecracker"
    return home / programs.firecracker.name / jail_name(id) / "root"


def jail_name(id: str) -> str:
    """A name the jailer takes: letters, digits and hyphens, 64 at most.

    It begins with the run's mark: the jailer empties the environment of what it becomes.
    """
    name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in mark_name(id))
    return name[-_NAME_BYTES:] or "-"


def firecracker_arguments() -> list[str]:
    """Firecracker's own; paths are relative, for the same names hold in every jail."""
    return ["--api-sock", API_SOCKET, "--log-path", LOG, "--level", "Error", "--metrics-path", METRICS]


def command_line(
    programs: Programs,
    *,
    id: str,
    home: Path,
    uid: int | None,
    netns: Path | None,
    binds: Sequence[Bind] = (),
    info_fd: int,
) -> list[str]:
    """The whole chain. bwrap writes the process id of Firecracker to `info_fd`.

    `home` is the folder of `root_folder`; `netns` the network namespace to be in, None for one of its own without any
    device. Where there is a jailer, `uid` must not be None.
    """
    chain = ["prlimit", "--core=0", "--"]
    if netns is not None:
        chain += ["nsenter", f"--net={netns}", "--"]
    chain += ["bwrap", "--dev-bind", "/", "/", "--proc", "/proc"]
    for bind in binds:
        chain += ["--bind" if bind.writable else "--ro-bind", str(bind.source), str(bind.target)]
    chain += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "caisson"]
    if netns is None:
        chain.append("--unshare-net")
    chain += ["--as-pid-1", "--die-with-parent", "--new-session", "--clearenv", "--info-fd", str(info_fd)]
    for variable in own_mark().items():
        chain += ["--setenv", *variable]
    if programs.jailer is None:
        chain += ["--chdir", str(root_folder(programs, home, id)), "--", str(programs.firecracker)]
        return [*chain, "--id", jail_name(id), *firecracker_arguments()]
    # The jailer needs to mount, to make devices and to change its user; Firecracker is left without any of it.
    chain += ["--cap-add", "ALL", "--", str(programs.jailer), "--id", jail_name(id)]
    chain += ["--exec-file", str(programs.firecracker), "--uid", str(uid), "--gid", str(uid)]
    chain += ["--chroot-base-dir", str(home), "--resource-limit", f"no-file={OPEN_FILES}"]
    return [*chain, "--", *firecracker_arguments()]
