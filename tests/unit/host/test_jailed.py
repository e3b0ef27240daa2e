"""The two processes of a sandbox: neither outlives the other, whoever is killed and whenever."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from caisson.host.jailed import Jailed, JailNotBuilt
from caisson.host.process import start
from tests.helpers.processes import Process, descendants, processes
from tests.helpers.server import wait_until

# As bubblewrap at its begin: it has an inner process, which waits to be told to go on, and has not told of it yet.
HALF_BUILT = "sleep 1000 & exec sleep 1001"


def test_an_inner_process_that_was_not_told_of_dies_though_the_outer_one_was_killed() -> None:
    async def begin() -> Process:
        info_fd, info_write = os.pipe()
        outer = start(["sh", "-c", HALF_BUILT], pass_fds=(info_write,), own_group=True)
        os.close(info_write)
        jailed = Jailed(outer, info_fd)
        wait_until(lambda: bool(descendants(outer.pid)), "the inner process to begin", 20)
        (inner,) = descendants(outer.pid)
        os.kill(outer.pid, signal.SIGKILL)
        with pytest.raises(JailNotBuilt):
            await jailed.inner()
        await jailed.close()
        return inner

    inner = asyncio.run(begin())
    wait_until(lambda: inner not in processes(), "the inner process to end", 20)
