"""A program that writes to a store until it is killed, and tells of each write that was acknowledged.

`python -m tests.helpers.store_writer URL` prints a line `what id` after each: `insert`, `start`, `append`, `finish`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable

from caisson.store.store import Store, open_store
from tests.helpers.workloads import accepted, chunk, ended, running

CLIENTS = 8


async def _live(store: Store) -> None:
    new = accepted()
    workload_id = new.workload.id

    async def acknowledged(what: str, write: Awaitable[None]) -> None:
        await write
        # In one system call, so that no line is cut in half.
        os.write(1, f"{what} {workload_id}\n".encode())

    await acknowledged("insert", store.insert(new))
    await acknowledged("start", store.start(running(new.workload)))
    await acknowledged("append", store.append(chunk(workload_id, 0, "hello")))
    await acknowledged("finish", store.finish(ended(running(new.workload)), chunk(workload_id, 1, "bye")))


async def _main(url: str) -> None:
    async def client(store: Store) -> None:
        while True:
            await _live(store)

    async with open_store(url) as store, asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client(store))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
