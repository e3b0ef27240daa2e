"""Parents: machines that start one interpreter after the other, each of which one copy continues, and no other.

Copies of one template would share what an interpreter drew when it started: the seed of Python's hashes, the state of
V8. Only one that is started anew has its own, and in a fresh copy that takes many times as long as everything else,
most of all where machines are emulated: the copy translates all that an interpreter's start executes, and stays large
for it. A parent has done that before. It is a copy of the template that is saved again after each interpreter it
started; what differs from the template is written over the memory of the next copy, whose interpreter then waits
already, and is in nobody else's memory. No program ever runs in a parent.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import cast

import structlog

from caisson.backends.microvm.disk import copy_disk
from caisson.backends.microvm.snapshot import Template
from caisson.backends.microvm.vmm import Home, Increment, Machine, VmmError
from caisson.host.shield import uninterrupted
from caisson.sandbox import agent
from caisson.sandbox.agent import Renewal
from caisson.sandbox.channel import Channel

logger = structlog.get_logger(__name__)

LINGER_S = 60.0
"""A parent that nobody asked for so long is ended: it takes the memory of a few machines. And none is brought up for
who asks more seldom."""
REST_S = 0.1
"""Before the next child, if nobody waits for it: about what the copy that got the last one takes to be up."""
CHILDREN_MOST = 100
"""A parent that had so many is ended, for what differs from the template grows a little each time."""


@dataclass(frozen=True, slots=True)
class Child:
    """An interpreter of its own, to be continued by one copy of the parent's template."""

    increment: Increment
    disk: Path
    """The machine's disk at that moment, to be moved to where the copy is."""


@dataclass(slots=True)
class Parent:
    """A machine that continues a template, loaded `to_save`, and runs."""

    home: Home
    machine: Machine
    channel: Channel
    template: Template
    patience_s: float
    """For each step of the next child."""
    children: int = 0

    async def bear(self) -> Child:
        """The next child; the machine is paused afterwards. Raises what the machine and its agent raise."""
        async with asyncio.timeout(self.patience_s):
            if self.children:
                await self.machine.resume()
            await agent.renew(self.channel, Renewal())
            # Its answer is the last thing under way: what is saved must not hold half a frame.
            if not await self.channel.ping(self.patience_s):
                raise VmmError("the machine that starts interpreters does not answer")
            await self.machine.pause()
            increment = await self.machine.save_increment(self.template.snapshot)
        self.children += 1
        disk = self.home.folder / f"disk-{self.children}"
        await uninterrupted(asyncio.to_thread(copy_disk, self.home.folder / "disk", disk))
        return Child(increment, disk)


Raise = Callable[[], AbstractAsyncContextManager[Parent]]


class Parents:
    """For each template that copies are made of again and again, parents with a child that is ready."""

    def __init__(self, most: int | None = None) -> None:
        """`most`, for each template, are parents at a time: by default one for every two processors."""
        self._most = most or max(1, len(os.sched_getaffinity(0)) // 2)
        self.is_of_use = True
        """False: their children cannot be continued here, and nobody gets one."""
        self._queues: dict[Template, _Queue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        """One for each parent, until nothing is left of it."""

    async def take(self, template: Template, up: Raise) -> Child | None:
        """The next child, of a parent that `up` brings up. Raises VmmError.

        None if that would take longer than a copy that starts its interpreter itself: no parent has had a child yet.
        """
        if not self.is_of_use:
            return None
        queue = self._queues.get(template)
        if queue is None:
            before_s, template.copied_at = template.copied_at, monotonic()
            if template.copied_at - before_s > LINGER_S:
                return None
            queue = self._queues[template] = _Queue()
        template.copied_at = monotonic()
        future = queue.ask() if queue.has_begun else None
        if not queue.parents or (queue.waiting > 1 and len(queue.parents) < self._most):
            task = asyncio.get_running_loop().create_task(self._bear(template, queue, up))
            queue.parents.add(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return None if future is None else await future

    async def close(self) -> None:
        """End all parents, and return when nothing is left of them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await uninterrupted(_ended(tasks))

    async def _bear(self, template: Template, queue: _Queue, up: Raise) -> None:
        failure = "the machine for that was ended"
        try:
            with template.held():
                async with up() as parent:
                    try:
                        while parent.children < CHILDREN_MOST and await queue.give(await parent.bear()):
                            await queue.rest()
                    except Exception as error:
                        failure = _failed(error)
                    finally:
                        # Before it ends, which takes a moment: who asks from now on is another's.
                        self._leave(template, queue, failure)
        except Exception as error:
            # Whatever it was, also on its way down: the copies start their interpreters themselves.
            failure = _failed(error)
        finally:
            self._leave(template, queue, failure)

    def _leave(self, template: Template, queue: _Queue, why: str) -> None:
        queue.parents.discard(cast(asyncio.Task[None], asyncio.current_task()))
        if not queue.parents:
            if self._queues.get(template) is queue:
                del self._queues[template]
            queue.fail(f"no interpreter was started ahead: {why}")


class _Queue:
    """A template's parents, and who waits for their children, in the order in which they asked."""

    def __init__(self) -> None:
        self.parents: set[asyncio.Task[None]] = set()
        self.has_begun = False
        """There was a child."""
        self._asking: asyncio.Queue[asyncio.Future[Child]] = asyncio.Queue()
        self._asked = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._asking.qsize()

    def ask(self) -> asyncio.Future[Child]:
        """The next child that nobody has asked for."""
        future: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._asking.put_nowait(future)
        self._asked.set()
        return future

    async def give(self, child: Child) -> bool:
        """False if nobody wants it within LINGER_S."""
        self.has_begun = True
        while True:
            try:
                async with asyncio.timeout(LINGER_S):
                    future = await self._asking.get()
            except TimeoutError:
                return False
            if self._asking.empty():
                self._asked.clear()
            if not future.done():
                future.set_result(child)
                return True

    async def rest(self) -> None:
        """Leave the processors to the copy that was just begun, unless somebody waits for the next child."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_S):
                await self._asked.wait()

    def fail(self, why: str) -> None:
        """Tell all who wait that nothing comes any more."""
        while not self._asking.empty():
            future = self._asking.get_nowait()
            if not future.done():
                future.set_exception(VmmError(why))


def _failed(error: Exception) -> str:
    said = f"{type(error).__name__} {error}".strip()
    logger.warning("a machine that starts interpreters failed", error=said)
    return said


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
