"""Where one machine lives on the host: a folder, control groups, a user of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from caisson.backends.leftovers import Living, remove_folder, write_user
from caisson.backends.microvm.sizes import HOST_OVERHEAD_BYTES
from caisson.backends.microvm.vmm import Home
from caisson.errors import StartFailed
from caisson.host.cgroup import CgroupError, Limits, SharedTree
from caisson.host.shield import Teardown

PIDS = 128
"""Threads of a VMM: one for each virtual CPU, and some for its disks."""
_EMPTY_S = 5.0


class Places:
    """All places of this node."""

    def __init__(self, node_id: str, sandboxes: Path, uid_base: int) -> None:
        self.sandboxes = sandboxes
        # With what no node's name can have in it.
        self._tree = SharedTree(f"{node_id}.microvm")
        self._living = Living(sandboxes, uid_base)

    @asynccontextmanager
    async def take(self, ram_mb: int, cpus: float) -> AsyncIterator[Home]:
        """A place for a machine with so much memory. When it is left, nothing of it is left. Raises StartFailed."""
        teardown = Teardown()
        names = ExitStack()
        teardown.push(names.close)
        try:
            try:
                home = self._make(teardown, names)
                home.group.limit(Limits(cpus=cpus, mem_bytes=(ram_mb << 20) + HOST_OVERHEAD_BYTES, pids=PIDS))
            except (CgroupError, OSError) as error:
                raise StartFailed("the sandbox did not start", detail=str(error)) from error
            yield home
        finally:
            await teardown.close()

    async def reclaim(self) -> int:
        """Remove what other processes of this node left; how many machines that were."""
        with self._tree.use() as tree:
            return await self._living.remove_others(tree)

    def controllers(self) -> frozenset[str]:
        """The controllers whose limits machines can be given."""
        with self._tree.use() as tree:
            return tree.controllers

    def _make(self, teardown: Teardown, names: ExitStack) -> Home:
        name = secrets.token_hex(8)
        folder = self.sandboxes / name
        tree = names.enter_context(self._tree.use())
        names.enter_context(self._living.named(name))
        uid = names.enter_context(self._living.user()) if os.getuid() == 0 else None
        teardown.push(lambda: asyncio.to_thread(remove_folder, folder))
        folder.mkdir(mode=0o700, parents=True)
        write_user(folder, uid)
        group = tree.group(name)
        teardown.push(lambda: group.end(_EMPTY_S))
        return Home(name, folder, group, uid)
