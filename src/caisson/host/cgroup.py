"""Control groups, v1 and v2 and both at once: a group for each sandbox, all under one parent named after the node.

What this process may not write is reported in `Tree.missing` and never assumed to be in force.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from caisson.errors import CaissonError
from caisson.host.reserve import spending

LIMITING = ("cpu", "memory", "pids")
"""Controllers that enforce a limit; v1 counts CPU time in a fourth, cpuacct."""
PERIOD_US = 100_000
_SUPERVISOR = "supervisor"
_RETRY_S = 0.001


class CgroupError(CaissonError):
    """A control group could not be made, limited or removed."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted cgroup file system, and where in it this process is."""

    version: int
    mount: Path
    controllers: frozenset[str]
    own: Path


@dataclass(frozen=True, slots=True)
class Limits:
    """What a group may use; None leaves a limit as it is."""

    cpus: float | None = None
    mem_bytes: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a group has used; None where no controller counts it."""

    cpu_us: int | None
    peak_bytes: int | None
    oom_kills: int


def hierarchies(mounts: str, memberships: str) -> list[Hierarchy]:
    """The cgroup file systems told by the texts of /proc/self/mounts and /proc/self/cgroup, see cgroups(7)."""
    joined: dict[frozenset[str], str] = {}
    for line in memberships.splitlines():
        _, names, path = line.split(":", 2)
        joined[frozenset(filter(None, names.split(",")))] = path
    found = []
    for line in mounts.splitlines():
        _, mount, kind, options, *_ = line.split()
        if kind not in ("cgroup", "cgroup2"):
            continue
        version = 1 if kind == "cgroup" else 2
        mounted = frozenset(options.split(",")) if version == 1 else frozenset[str]()
        for controllers, path in joined.items():
            if bool(controllers) == (version == 1) and controllers <= mounted:
                own = Path(mount) / path.lstrip("/")
                known = controllers if version == 1 else frozenset(_words(own / "cgroup.controllers"))
                found.append(Hierarchy(version, Path(mount), known & {*LIMITING, "cpuacct"}, own))
    return found


class Group:
    """The control groups of one sandbox: one folder for each hierarchy, looked up by controller."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        """`folders` maps a controller, or the empty string for a v2 tree without any, to a folder that exists."""
        self._folders = dict(folders)
        self.paths = tuple(dict.fromkeys(folders.values()))
        self.controllers = frozenset(filter(None, folders))

    def attach(self, pid: int) -> None:
        """Move a process and its threads in. May take 20 ms: the kernel waits for a grace period (cgroup v1 and v2)."""
        for path in self.paths:
            _write(path / "cgroup.procs", pid)

    def limit(self, limits: Limits) -> None:
        """Set the limits whose controller is here. Raises CgroupError if the kernel refuses."""
        if limits.mem_bytes is not None and (memory := self._folders.get("memory")):
            if (memory / "memory.max").exists():
                _write(memory / "memory.max", limits.mem_bytes)
                with suppress(CgroupError):
                    _write(memory / "memory.swap.max", 0)
            else:
                # The limit with swap may never be below the one without, so the order depends on the direction.
                both = (memory / "memory.limit_in_bytes", memory / "memory.memsw.limit_in_bytes")
                present = [path for path in both if path.exists()]
                grows = limits.mem_bytes > int(both[0].read_text())
                for path in reversed(present) if grows else present:
                    _write(path, limits.mem_bytes)
        if limits.cpus is not None and (cpu := self._folders.get("cpu")):
            quota_us = max(1_000, round(limits.cpus * PERIOD_US))
            if (cpu / "cpu.max").exists():
                _write(cpu / "cpu.max", f"{quota_us} {PERIOD_US}")
            else:
                _write(cpu / "cpu.cfs_period_us", PERIOD_US)
                _write(cpu / "cpu.cfs_quota_us", quota_us)
        if limits.pids is not None and (pids := self._folders.get("pids")):
            _write(pids / "pids.max", limits.pids)

    def reset_peak(self) -> None:
        """Let the peak of memory count from now on, where the kernel can (v1 always; v2 never for other readers)."""
        if memory := self._folders.get("memory"):
            with suppress(CgroupError):
                _write(memory / "memory.max_usage_in_bytes", 0, must_exist=True)

    def held_bytes(self) -> int | None:
        """Memory the group holds now, files in memory among it; None where no controller counts it."""
        memory = self._folders.get("memory")
        if memory is None:
            return None
        held = _number(memory / "memory.usage_in_bytes")
        return _number(memory / "memory.current") if held is None else held

    def cpu_us(self) -> int | None:
        """CPU time the group has used so far; None where no controller counts it."""
        if folder := self._folders.get("cpuacct"):
            return _number(folder / "cpuacct.usage", scale=1_000)
        if folder := self._folders.get("cpu"):
            return _member(folder / "cpu.stat", "usage_usec")
        return None

    def read(self) -> Reading:
        """What the group has used so far."""
        cpu_us = self.cpu_us()
        memory = self._folders.get("memory")
        if memory is None:
            return Reading(cpu_us, None, 0)
        peak = _number(memory / "memory.max_usage_in_bytes")
        peak = _number(memory / "memory.peak") if peak is None else peak
        kills = _member(memory / "memory.events", "oom_kill")
        kills = _member(memory / "memory.oom_control", "oom_kill") if kills is None else kills
        return Reading(cpu_us, peak, kills or 0)

    def pids_refused(self) -> bool:
        """True if a process or thread was refused because there were too many."""
        folder = self._folders.get("pids")
        return folder is not None and bool(_member(folder / "pids.events", "max"))

    def processes(self) -> set[int]:
        """Process ids inside, in any of the hierarchies."""
        return {int(pid) for path in self.paths for pid in _words(path / "cgroup.procs")}

    def kill(self) -> None:
        """Send SIGKILL to everything inside, at one stroke where the kernel can (v2), else process by process."""
        with spending():
            for path in self.paths:
                with suppress(CgroupError):
                    _write(path / "cgroup.kill", 1, must_exist=True)
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Remove the folders; those that are gone already are no error. Raises CgroupError if one is not empty."""
        for path in self.paths:
            try:
                path.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise CgroupError(f"the cgroup {path} could not be removed: {error.strerror}") from error

    async def end(self, within_s: float) -> None:
        """Kill everything inside, and remove the folders once nobody is, which is also the proof that nobody is left.

        Raises TimeoutError.
        """
        async with asyncio.timeout(within_s):
            while True:
                self.kill()
                try:
                    self.remove()
                    return
                except CgroupError:
                    # A dead process leaves its groups a moment after its parent hears of its death, without any event.
                    await asyncio.sleep(_RETRY_S)


@dataclass(frozen=True, slots=True)
class Tree:
    """The node's own part of the control groups: a parent folder in every hierarchy that is writable."""

    parents: Mapping[str, Path] = field(default_factory=dict)
    """The folder for each controller; the empty string for a v2 tree without controllers."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Controllers that cannot be used, each with why."""

    @property
    def controllers(self) -> frozenset[str]:
        """Controllers that can be used."""
        return frozenset(filter(None, self.parents))

    def group(self, name: str) -> Group:
        """Make the groups of one sandbox. Raises CgroupError, leaving nothing behind, if that fails."""
        group = self.find(name)
        try:
            for path in group.paths:
                path.mkdir(exist_ok=True)
        except OSError as error:
            group.remove()
            raise CgroupError(f"the cgroup {name} could not be made: {error.strerror}") from error
        return group

    def find(self, name: str) -> Group:
        """The groups of a sandbox, whether they exist or not."""
        return Group({controller: parent / name for controller, parent in self.parents.items()})

    def names(self) -> set[str]:
        """Names of the groups that exist."""
        return {child.name for parent in self.parents.values() for child in parent.iterdir() if child.is_dir()}

    def remove(self) -> None:
        """Remove the parents, if they are empty."""
        for path in dict.fromkeys(self.parents.values()):
            with suppress(OSError):
                path.rmdir()


class SharedTree:
    """A node's tree for all who need it: made for the first of them, and removed after the last."""

    def __init__(self, name: str) -> None:
        self.name = name
        """A node's, or one that no node can have."""
        self._tree = Tree()
        self._users = 0

    @contextmanager
    def use(self) -> Iterator[Tree]:
        """The tree, for as long as the context lasts."""
        if self._users == 0:
            self._tree = node_tree(self.name)
        self._users += 1
        try:
            yield self._tree
        finally:
            self._users -= 1
            if self._users == 0:
                self._tree.remove()


@spending()  # a controller that could only not be read would pass for one that is not here
def node_tree(node_id: str, found: Iterable[Hierarchy] | None = None) -> Tree:
    """Make or find the node's parent folders."""
    if found is None:
        found = hierarchies(Path("/proc/self/mounts").read_text(), Path("/proc/self/cgroup").read_text())
    parents: dict[str, Path] = {}
    missing = {name: "no cgroup hierarchy on this host has the controller" for name in LIMITING}
    # v1 first: a controller that v1 holds is not in the v2 tree, but an empty v2 tree still has cgroup.kill.
    for hierarchy in sorted(found, key=lambda each: each.version):
        wanted = hierarchy.controllers - parents.keys()
        if hierarchy.version == 1 and not wanted:
            continue
        try:
            folder = _v2_parent(hierarchy, node_id) if hierarchy.version == 2 else _v1_parent(hierarchy, node_id)
        except OSError as error:
            missing |= {name: f"{hierarchy.own} is not writable ({error.strerror})" for name in wanted}
            continue
        if hierarchy.version == 2:
            wanted &= frozenset(_words(folder / "cgroup.subtree_control"))
        parents |= dict.fromkeys(wanted or {""}, folder)
    return Tree(parents, {name: why for name, why in missing.items() if name not in parents})


def _v1_parent(hierarchy: Hierarchy, node_id: str) -> Path:
    parent = hierarchy.own / f"caisson-{node_id}"
    parent.mkdir(exist_ok=True)
    return parent


def _v2_parent(hierarchy: Hierarchy, node_id: str) -> Path:
    own = hierarchy.own
    if own.name == _SUPERVISOR:
        own = own.parent
    if hierarchy.controllers and own != hierarchy.mount:
        try:
            _make_room(own)
        except OSError:
            # A scope shared with other programs, such as a login shell's: only root may go around it.
            own = hierarchy.mount
    parent = own / f"caisson-{node_id}"
    parent.mkdir(exist_ok=True)
    for folder in (own, parent):
        _enable(folder, hierarchy.controllers)
    return parent


def _make_room(own: Path) -> None:
    """Move this process into a child group: a v2 group has processes or controllers for its children, never both."""
    others = {int(pid) for pid in _words(own / "cgroup.procs")} - {os.getpid()}
    if others:
        raise OSError(errno.EBUSY, "the control group is shared with other programs")
    child = own / _SUPERVISOR
    child.mkdir(exist_ok=True)
    (child / "cgroup.procs").write_text(str(os.getpid()))


def _enable(folder: Path, controllers: frozenset[str]) -> None:
    for name in controllers - set(_words(folder / "cgroup.subtree_control")):
        # Each for itself: one that cannot be delegated must not hold back the others. What took effect is read back.
        with suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{name}")


def _write(path: Path, value: int | str, *, must_exist: bool = False) -> None:
    try:
        with path.open("r+" if must_exist else "w") as file:
            file.write(str(value))
    except OSError as error:
        raise CgroupError(f"{path} does not take {value}: {error.strerror}") from error


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except (FileNotFoundError, OSError):
        return []


def _number(path: Path, scale: int = 1) -> int | None:
    words = _words(path)
    return int(words[0]) // scale if words else None


def _member(path: Path, name: str) -> int | None:
    words = _words(path)
    return int(words[words.index(name) + 1]) if name in words else None
