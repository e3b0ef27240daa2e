"""Sandboxes that wait for work, and the way to get one.

Every sandbox lives in a keeper task of its own, which boots it, holds it, and tears it down: its context is entered and
left by the same task, and a slow teardown is nobody's wait. A sandbox goes to the first taker in line, whoever caused
its boot; nobody boots for himself, so a burst never starts more sandboxes than it needs.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from caisson import metrics
from caisson.answers import PoolView
from caisson.errors import SandboxError, StartFailed, Unavailable
from caisson.model import Isolation, StartKind
from caisson.sandbox.contract import Backend, Sandbox, SandboxSpec

logger = structlog.get_logger(__name__)

ATTEMPTS = 2
"""Boots tried for one taker: a start that failed once is tried again, because no user code has run."""
REFILL_AFTER_S = 0.02
"""How long after a warm start its successor is booted; those who find the pool empty cause boots at once."""
BACKOFF_S = (0.0, 0.2, 1.0, 5.0, 30.0)
"""Pause before a pool is filled again after so many failed boots in a row."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """What the policy looks at."""

    target: int
    ready: int
    starting: int
    takers: int


def boots_wanted(state: PoolState, parallel: int) -> int:
    """How many boots to begin now: for those who wait and for the target, never more at once than `parallel`."""
    missing = state.takers + state.target - state.ready - state.starting
    return max(0, min(missing, parallel - state.starting))


@dataclass(slots=True, eq=False)
class _Slot:
    """One READY sandbox, and the word to its keeper that nobody needs it any more."""

    sandbox: Sandbox
    released: asyncio.Event


class Pool:
    """Sandboxes of one spec."""

    def __init__(
        self, backend: Backend, spec: SandboxSpec, target: int, start_timeout_s: float, keepers: asyncio.TaskGroup
    ) -> None:
        self.backend = backend
        self.spec = spec
        self._target = target
        self._start_timeout_s = start_timeout_s
        self._keepers = keepers
        self._parallel = max(2, len(os.sched_getaffinity(0)))
        self._ready: deque[_Slot] = deque()
        self._takers: deque[asyncio.Future[_Slot]] = deque()
        self._starting = 0
        self._failures = 0
        self._stopping = asyncio.Event()

    @property
    def state(self) -> PoolState:
        """The pool as it is."""
        return PoolState(self._target, len(self._ready), self._starting, len(self._takers))

    @property
    def idle(self) -> bool:
        """True if the pool holds nothing, owes nothing and wants nothing."""
        return self._target == 0 and not self._ready and not self._starting and not self._takers

    @asynccontextmanager
    async def take(self) -> AsyncIterator[tuple[Sandbox, StartKind]]:
        """A READY sandbox, and how it came to be; leaving gives it up for teardown without waiting for it.

        Raises StartFailed or Unavailable when none comes up.
        """
        slot, kind = await self._next()
        try:
            yield slot.sandbox, kind
        finally:
            slot.released.set()

    def fill(self) -> None:
        """Begin the boots that are wanted."""
        if self._stopping.is_set():
            return
        for _ in range(boots_wanted(self.state, self._parallel)):
            self._starting += 1
            self._keepers.create_task(self._keep())

    def stop(self) -> None:
        """Boot nothing more and let go of what waits."""
        self._stopping.set()
        while self._ready:
            self._ready.popleft().released.set()

    async def _next(self) -> tuple[_Slot, StartKind]:
        if self._ready:
            slot = self._ready.popleft()
            # A boot costs many times what a short program does, and would slow the very one that got this sandbox.
            asyncio.get_running_loop().call_later(REFILL_AFTER_S, self.fill)
            return slot, StartKind.WARM
        for attempt in range(1, ATTEMPTS + 1):
            taker: asyncio.Future[_Slot] = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            self.fill()
            try:
                slot = await taker
            except Unavailable:
                raise
            except StartFailed as error:
                if attempt == ATTEMPTS:
                    raise
                logger.warning("sandbox did not start, trying once more", spec=repr(self.spec), error=error.detail)
                continue
            except asyncio.CancelledError:
                self._withdraw(taker)
                raise
            return slot, slot.sandbox.start
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _withdraw(self, taker: asyncio.Future[_Slot]) -> None:
        if taker in self._takers:
            self._takers.remove(taker)
        elif taker.done() and not taker.cancelled() and taker.exception() is None:
            self._offer(taker.result())

    def _offer(self, slot: _Slot) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(slot)
                return
        if self._stopping.is_set() or len(self._ready) >= self._target:
            slot.released.set()
        else:
            self._ready.append(slot)

    async def _keep(self) -> None:
        """Boot one sandbox, offer it, hold it until it is given up, tear it down."""
        isolation, runtime = self.backend.isolation, self.spec.runtime
        slot: _Slot | None = None
        try:
            async with AsyncExitStack() as stack:
                try:
                    if self._failures:
                        await asyncio.sleep(BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)])
                    sandbox = await self._boot(stack)
                finally:
                    self._starting -= 1
                self._failures = 0
                slot = _Slot(sandbox, asyncio.Event())
                self._offer(slot)
                self.fill()
                await slot.released.wait()
        except SandboxError as error:
            if slot is not None:
                metrics.sandbox_teardowns_failed.labels(isolation).inc()
                logger.error("sandbox teardown failed", sandbox=slot.sandbox.id, error=error.detail)
                return
            self._failures += 1
            metrics.sandbox_starts_failed.labels(isolation, runtime).inc()
            logger.warning("sandbox did not start", isolation=isolation, runtime=runtime, error=error.detail)
            self._blame(error)
            self.fill()

    async def _boot(self, stack: AsyncExitStack) -> Sandbox:
        try:
            async with asyncio.timeout(self._start_timeout_s):
                return await stack.enter_async_context(self.backend.boot(self.spec))
        except TimeoutError as error:
            raise StartFailed(f"the sandbox was not ready within {self._start_timeout_s:g} s") from error

    def _blame(self, error: SandboxError) -> None:
        """Tell the first in line; the others still have boots of their own coming."""
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_exception(error)
                return


class Pools:
    """Every pool of this node, by isolation and pool spec. Specs nobody keeps warm get a pool while they are in use."""

    def __init__(self, start_timeout_s: float) -> None:
        self._start_timeout_s = start_timeout_s
        self._pools: dict[tuple[Isolation, SandboxSpec], Pool] = {}
        self._keepers: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pools]:
        """Serve takers until left; then every sandbox is torn down before this returns."""
        async with asyncio.TaskGroup() as keepers:
            self._keepers = keepers
            try:
                yield self
            finally:
                for pool in self._pools.values():
                    pool.stop()
                self._keepers = None

    def keep_warm(self, backend: Backend, spec: SandboxSpec, target: int) -> None:
        """Have `target` sandboxes of `spec`, a pool spec of the backend's, wait from now on."""
        pool = self._pool(backend, spec, target)
        labels = backend.isolation, spec.runtime
        metrics.pool_target.labels(*labels).set(target)
        metrics.pool_ready.labels(*labels).set_function(lambda: pool.state.ready)
        pool.fill()

    @asynccontextmanager
    async def take(self, backend: Backend, spec: SandboxSpec) -> AsyncIterator[tuple[Sandbox, StartKind]]:
        """As `Pool.take`, from the pool that serves a request of `spec`."""
        spec = backend.pool_spec(spec)
        pool = self._pool(backend, spec, 0)
        try:
            async with pool.take() as taken:
                yield taken
        finally:
            if pool.idle:
                self._pools.pop((backend.isolation, spec), None)

    def views(self) -> Mapping[Isolation, list[PoolView]]:
        """The pools that are kept warm, as they truly are."""
        views: dict[Isolation, list[PoolView]] = {}
        for (isolation, spec), pool in self._pools.items():
            state = pool.state
            if state.target:
                views.setdefault(isolation, []).append(
                    PoolView(runtime=spec.runtime, target=state.target, ready=state.ready, starting=state.starting)
                )
        return views

    def _pool(self, backend: Backend, spec: SandboxSpec, target: int) -> Pool:
        if self._keepers is None:
            raise StartFailed("the pools are closed")
        pool = self._pools.get((backend.isolation, spec))
        if pool is None:
            pool = Pool(backend, spec, target, self._start_timeout_s, self._keepers)
            self._pools[backend.isolation, spec] = pool
        return pool
