"""The processes of one sandbox: `runsc run`, and below it the gofer and the sentry, which end together.

The sentry is the first process of its own pid namespace, in which everything of the sandbox lives: its end is the end
of all inside, see pid_namespaces(7).
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from caisson.host.cgroup import Group
from caisson.host.pidfd import Followed
from caisson.host.process import Process
from caisson.host.reserve import spending

_PATIENCE_S = 2.0
_SIGKILL_BIT = 1 << signal.SIGKILL - 1
# Each process enters by itself: a thread that moves itself does not make the kernel wait for all others, as moving a
# process does (cgroup_attach_lock in the kernel). `runsc` and all below are born inside.
_ENTER = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 125; shift; done; shift; exec "$@"'


def enter(group: Group) -> list[str]:
    """A command prefix that joins the control groups and becomes what follows."""
    doors = [str(path / "tasks" if (path / "tasks").exists() else path / "cgroup.procs") for path in group.paths]
    return ["sh", "-c", _ENTER, "sh", *doors, "--"] if doors else []


class Processes:
    """Owns the outer process."""

    def __init__(self, outer: Process) -> None:
        self._outer = outer
        self._inner: dict[int, Followed] = {}
        self._stubs = set[int]()

    @property
    def pids(self) -> tuple[int, ...]:
        """All process ids known so far, the outer one first."""
        return (self._outer.pid, *self._inner)

    @property
    def ended(self) -> bool:
        """True once the outer process has ended."""
        return self._outer.ended

    @property
    def lacking(self) -> bool:
        """True once one of those below has ended, without which the others wait for ever."""
        return any(inner.ended for inner in self._inner.values())

    def killed_below(self) -> set[int]:
        """Processes of the sandbox's, at any depth, that were killed and are still there.

        gVisor takes leave at once of those that it ends itself, so what stays was killed by somebody else: by the
        kernel for want of memory, or by root. Traced as it is, it does not even die, and what ran in it never goes on.
        """
        if not self._stubs:
            # The first is the parent of the others. Asked for once: the sentry has many threads, and each is a file.
            self._stubs = {stub for pid in self._inner for stub in children(pid)}
        found, waiting = set[int](), list(self._stubs)
        while waiting:
            pid = waiting.pop()
            if is_killed(pid):
                found.add(pid)
            else:
                waiting += children(pid)
        return found

    def look(self) -> None:
        """Get hold of the processes below the outer one."""
        with spending():
            below = children(self._outer.pid)
        for pid in below:
            if pid not in self._inner:
                with suppress(ProcessLookupError):
                    self._inner[pid] = Followed(pid)

    async def wait(self) -> int:
        """The exit code of `runsc run`."""
        return await self._outer.wait()

    def kill_inner(self) -> None:
        """Send SIGKILL to those below; the outer one ends with them."""
        for inner in self._inner.values():
            inner.kill()

    async def kill(self) -> None:
        """End all of them, and return when that is verified. Idempotent."""
        early = not self._inner and not self._outer.ended
        if early:
            # It may be about to start them: what cannot go on cannot start any more.
            os.kill(self._outer.pid, signal.SIGSTOP)
        self.look()
        self.kill_inner()
        if early:
            self._outer.kill()
        for inner in self._inner.values():
            await inner.wait()
        # Left to reap them, it ends by itself, unless it hangs.
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._outer.wait()
        except TimeoutError:
            self._outer.kill()
            await self._outer.wait()

    async def close(self) -> None:
        """`kill`, and let go of the handles. Once."""
        await self.kill()
        for inner in self._inner.values():
            inner.close()
        await self._outer.close()


def is_killed(pid: int) -> bool:
    """True for a process that SIGKILL waits for, or that is dead and was not waited for; see proc(5)."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":\t")
            if name == "State" and value.startswith("Z"):
                return True
            if name == "ShdPnd":
                return bool(int(value, 16) & _SIGKILL_BIT)
    return False


def children(pid: int) -> set[int]:
    """The children of all threads of a process; none if it is gone."""
    found: set[int] = set()
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found |= {int(word) for word in (task / "children").read_text().split()}
    return found
