"""The jail: bubblewrap's command line, and the short chain of programs that puts a sandbox into it.

`prlimit` sets what processes inherit, `nsenter` becomes the sandbox's own user (only where the server is root), then
`bwrap` leaves every namespace of the host and starts the guest as process 1 of its own world. See
docs/decisions/ for why each link is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from caisson.backends.isolate.guest import CACHE_TARGET, CHANNEL_TARGET, TMP_TARGET, WORK_TARGET, Guest
from caisson.backends.isolate.seccomp import program
from caisson.backends.isolate.stage import Stage
from caisson.host.birthmark import own_mark
from caisson.host.cgroup import Group
from caisson.sandbox.contract import SandboxSpec

PIDS = 128
"""Threads a sandbox may have; the runtimes themselves have about a dozen."""
_OPEN_FILES = 1024
_CACHE_BYTES = 64 << 20
OVERHEAD_BYTES = 64 << 20
"""Memory granted to the runtime itself, beyond what the program was given."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the backend gives one sandbox to live in."""

    id: str
    folder: Path
    """Holds `channel` and `work`, which it sees read-only."""
    group: Group
    stage: Stage
    uid: int | None
    """Its own user id, or None to stay the server's user."""


def total_bytes(spec: SandboxSpec) -> int:
    """What a sandbox's control group may hold: files in /tmp are memory as well."""
    return (spec.mem_mb + spec.disk_mb << 20) + OVERHEAD_BYTES


def launch_command(
    place: Place, spec: SandboxSpec, guest: Guest, nonce: str, *, seccomp_fd: int, info_fd: int
) -> list[str]:
    """The whole chain. bwrap inherits and reads `seccomp_fd`, and writes the guest's process id to `info_fd`."""
    limits = [f"--nofile={_OPEN_FILES}", "--core=0"]
    if "memory" not in place.group.controllers:
        limits.append(f"--data={guest.data_mb + spec.mem_mb << 20}")
    if place.uid is not None:
        # Counted for each user: the server's own has other processes, which are no business of the sandbox.
        limits.append(f"--nproc={PIDS}")
    chain = ["prlimit", *limits, "--"]
    if place.uid is not None:
        chain += ["nsenter", f"--setuid={place.uid}", f"--setgid={place.uid}"]
        chain += [f"--mount=/proc/self/fd/{place.stage.namespace_fd}", "--"]
    # --unshare-all only *tries* the user and cgroup namespaces; the user namespace must be.
    chain += ["bwrap", "--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534"]
    chain += ["--hostname", "caisson", "--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    chain += ["--seccomp", str(seccomp_fd), "--info-fd", str(info_fd), "--clearenv"]
    # A guest whose server dies before it is noted anywhere is known by its mark; user code does not get to see it.
    for name, value in (*guest.env.items(), *own_mark().items()):
        chain += ["--setenv", name, value]
    for source, target in _binds(guest, place):
        chain += ["--ro-bind", place.stage.place(source), target]
    for path, text in guest.links.items():
        chain += ["--symlink", text, path]
    chain += ["--size", str(_CACHE_BYTES), "--tmpfs", CACHE_TARGET]
    chain += ["--size", str(spec.disk_mb << 20), "--tmpfs", TMP_TARGET]
    chain += ["--remount-ro", "/", "--chdir", WORK_TARGET, "--"]
    return [*chain, *guest.command(nonce, spec.mem_mb)]


def _binds(guest: Guest, place: Place) -> Iterator[tuple[Path, str]]:
    for mount in guest.mounts:
        yield mount.source, mount.target
    yield place.folder / "channel", CHANNEL_TARGET
    yield place.folder / "work", WORK_TARGET


def seccomp_pipe() -> int:
    """A pipe that holds the filter, for bwrap to read to its end."""
    read_fd, write_fd = os.pipe()
    try:
        os.write(write_fd, program())
    finally:
        os.close(write_fd)
    return read_fd
