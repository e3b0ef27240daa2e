"""Sandboxes that wait for work, and the way to get one.

Every sandbox lives in a keeper task of its own, which boots it, holds it, and tears it down: its context is entered and
left by the same task, and a slow teardown is nobody's wait. A sandbox goes to the first taker in line, whoever caused
its boot; nobody boots for himself, so a burst never starts more sandboxes than it needs.

How many wait follows demand, within a budget of memory (`sizing.py`); those that wait are pinged and grow old.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import structlog

from caisson import metrics
from caisson.answers import PoolView
from caisson.engine.sizing import Demand, Want, shares, wanted
from caisson.errors import SandboxError, StartFailed, Unavailable
from caisson.model import Isolation, StartKind
from caisson.sandbox.contract import Backend, Sandbox, SandboxSpec

logger = structlog.get_logger(__name__)

ATTEMPTS = 2
"""Boots tried for one taker: a start that failed once is tried again, because no user code has run."""
REFILL_AFTER_S = 0.02
"""How long after a warm start its successor is booted; those who find the pool empty cause boots at once."""
BACKOFF_S = (0.0, 0.2, 1.0, 5.0, 30.0)
"""Pause before a pool is filled again after so many failed boots in a row; after more of them, the last."""
BACKOFF_WAITED_FOR_S = 1.0
"""The longest such pause while somebody waits."""
TEND_EVERY_S = 1.0
"""How often pools are looked after: too full ones give up sandboxes, and one that waits is asked how it is."""
PING_EVERY_S = 30.0
"""How often each sandbox that waits is asked."""
PING_S = 5.0
WAITING_MB = {Isolation.ISOLATE: 40, Isolation.GVISOR: 80, Isolation.MICROVM: 160}
"""What a sandbox that waits holds of the host's memory, roughly: what its interpreter uses, not what it may use."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """What the policy looks at."""

    target: int
    ready: int
    starting: int
    takers: int
    busy: bool = False
    """Workloads run on every processor."""


def most_boots() -> int:
    """How many sandboxes of a spec boot at once: one more than there are processors, as a boot waits now and then."""
    return len(os.sched_getaffinity(0)) + 1


def boots_wanted(state: PoolState, parallel: int) -> int:
    """How many boots to begin now: for those who wait and for the target, never more at once than `parallel`.

    For the target alone, one at a time while workloads need the processors.
    """
    missing = state.takers + state.target - state.ready - state.starting
    waited_for = max(0, state.takers - state.ready)
    most = max(waited_for, 1) if state.busy else parallel
    return max(0, min(missing, most - state.starting, parallel - state.starting))


@dataclass(slots=True, eq=False)
class _Slot:
    """One READY sandbox, and the word to its keeper that nobody needs it any more."""

    sandbox: Sandbox
    released: asyncio.Event
    born_at: float
    asked_at: float


class Pool:
    """Sandboxes of one spec."""

    def __init__(
        self,
        backend: Backend,
        spec: SandboxSpec,
        start_timeout_s: float,
        keepers: asyncio.TaskGroup,
        busy: Callable[[], bool],
    ) -> None:
        self.backend = backend
        self.spec = spec
        self.least = 0
        """How many are to wait whatever was asked for lately."""
        self.demand = Demand()
        self._target = 0
        self._busy = busy
        self._start_timeout_s = start_timeout_s
        self._keepers = keepers
        self._parallel = most_boots()
        self._ready: deque[_Slot] = deque()
        self._takers: deque[asyncio.Future[_Slot]] = deque()
        self._starting = 0
        self._failures = 0
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def state(self) -> PoolState:
        """The pool as it is."""
        return PoolState(self._target, len(self._ready), self._starting, len(self._takers), self._busy())

    @property
    def idle(self) -> bool:
        """True if the pool holds nothing, owes nothing and wants nothing."""
        return self.least == 0 and not self._ready and not self._starting and not self._takers

    @asynccontextmanager
    async def take(self) -> AsyncIterator[tuple[Sandbox, StartKind]]:
        """A READY sandbox, and how it came to be; leaving gives it up for teardown without waiting for it.

        Raises StartFailed or Unavailable when none comes up.
        """
        self.demand.note(monotonic())
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

    def resize(self, target: int) -> None:
        """Have so many wait from now on; of those that wait, the oldest go."""
        self._target = target
        while len(self._ready) > target:
            self._drop(self._ready.popleft(), "surplus")
        self.fill()

    async def tend(self, age_s: float) -> None:
        """Give up one that has waited longer than `age_s`, and one that does not answer. Returns at the latest after a
        ping's time limit."""
        now_s = monotonic()
        if self._ready and now_s - self._ready[0].born_at > age_s:
            self._drop(self._ready.popleft(), "old")
        elif asked := [slot for slot in self._ready if now_s - slot.asked_at > PING_EVERY_S]:
            # Nobody is to take it while it is being asked.
            self._ready.remove(asked[0])
            await self._ask(asked[0])
        self.fill()

    async def _ask(self, slot: _Slot) -> None:
        slot.asked_at = monotonic()
        try:
            answered = await slot.sandbox.ping(PING_S)
        except asyncio.CancelledError:
            slot.released.set()
            raise
        except Exception:
            # A backend's mistake must not keep the others' pools from being looked after.
            logger.exception("a ping failed", sandbox=slot.sandbox.id)
            answered = False
        if answered:
            self._offer(slot)
        else:
            self._drop(slot, "sick")

    def _drop(self, slot: _Slot, reason: str) -> None:
        metrics.sandboxes_dropped.labels(self.backend.isolation, reason).inc()
        logger.debug("a waiting sandbox is given up", sandbox=slot.sandbox.id, reason=reason)
        slot.released.set()

    def stop(self) -> None:
        """Boot nothing more and let go of what waits."""
        self._stopping.set()
        self._wake()
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
            self._wake()
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
                    await self._hold_back()
                    if self._stopping.is_set() and not self._takers:
                        return
                    sandbox = await self._boot(stack)
                finally:
                    self._starting -= 1
                self._failures = 0
                self._wake()
                slot = _Slot(sandbox, asyncio.Event(), monotonic(), monotonic())
                self._offer(slot)
                self.fill()
                await slot.released.wait()
        except Exception as error:
            # Whatever it was: one sandbox must not end all the others.
            failure = error if isinstance(error, SandboxError) else None
            if failure is None:
                logger.exception("a backend made a mistake", isolation=isolation, runtime=runtime)
                failure = StartFailed("the server made a mistake; its log says more", detail=repr(error))
            if slot is not None:
                metrics.sandbox_teardowns_failed.labels(isolation).inc()
                logger.error("sandbox teardown failed", sandbox=slot.sandbox.id, error=failure.detail)
                return
            self._failures += 1
            metrics.sandbox_starts_failed.labels(isolation, runtime).inc()
            logger.warning("sandbox did not start", isolation=isolation, runtime=runtime, error=failure.detail)
            self._blame(failure)
            self.fill()

    async def _hold_back(self) -> None:
        """Pause after boots that failed, until one succeeds: a moment if somebody waits, longer to have some wait."""
        began_at = monotonic()
        while self._failures and not self._stopping.is_set():
            pause_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
            if self._takers:
                pause_s = min(pause_s, BACKOFF_WAITED_FOR_S)
            try:
                async with asyncio.timeout(began_at + pause_s - monotonic()):
                    await self._news.wait()
            except TimeoutError:
                return

    def _wake(self) -> None:
        """Let those look again who hold back."""
        # Event.set resolves the futures of all present waiters; clearing it at once makes later ones wait anew.
        self._news.set()
        self._news.clear()

    async def _boot(self, stack: AsyncExitStack) -> Sandbox:
        try:
            async with asyncio.timeout(self._start_timeout_s):
                return await stack.enter_async_context(self.backend.boot(self.spec))
        except TimeoutError as error:
            raise StartFailed(f"the sandbox was not ready within {self._start_timeout_s:g} s") from error

    def _blame(self, error: SandboxError) -> None:
        """Tell the first in line: the others still have boots of their own coming. Where none succeeds, tell all."""
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_exception(error)
                if self._failures < len(BACKOFF_S):
                    return


class Pools:
    """Every pool of this node, by isolation and pool spec. Specs nobody keeps warm get a pool while they are in use."""

    def __init__(
        self, start_timeout_s: float, *, budget_mb: int = 1 << 20, growth: float = 1.0, age_s: float = 3_600
    ) -> None:
        """`budget_mb`: for all that wait. `growth`: how many times what it is told a pool may hold, if it is asked."""
        self._start_timeout_s = start_timeout_s
        self._budget_mb = budget_mb
        self._growth = growth
        self._age_s = age_s
        self._taken = 0
        self._processors = len(os.sched_getaffinity(0))
        self._pools: dict[tuple[Isolation, SandboxSpec], Pool] = {}
        self._keepers: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pools]:
        """Serve takers until left; then every sandbox is torn down before this returns."""
        async with asyncio.TaskGroup() as keepers:
            self._keepers = keepers
            tending = keepers.create_task(self._tend())
            try:
                yield self
            finally:
                tending.cancel()
                for pool in self._pools.values():
                    pool.stop()
                self._keepers = None

    def keep_warm(self, backend: Backend, spec: SandboxSpec, least: int) -> None:
        """Have `least` sandboxes of `spec`, a pool spec of the backend's, wait from now on, and more if asked for."""
        pool = self._pool(backend, spec)
        pool.least = least
        labels = backend.isolation, spec.runtime
        metrics.pool_target.labels(*labels).set_function(lambda: pool.state.target)
        metrics.pool_ready.labels(*labels).set_function(lambda: pool.state.ready)
        self.resize()

    def resize(self) -> None:
        """Share out the budget anew."""
        now_s = monotonic()
        pools = [pool for pool in self._pools.values() if pool.least]
        wants = [
            Want(wanted(pool.least, pool.demand.burst(now_s), self._growth), WAITING_MB[pool.backend.isolation])
            for pool in pools
        ]
        for pool, target in zip(pools, shares(wants, self._budget_mb), strict=True):
            if target != pool.state.target:
                pool.resize(target)

    @asynccontextmanager
    async def take(self, backend: Backend, spec: SandboxSpec) -> AsyncIterator[tuple[Sandbox, StartKind]]:
        """As `Pool.take`, from the pool that serves a request of `spec`."""
        spec = backend.pool_spec(spec)
        pool = self._pool(backend, spec)
        self._taken += 1
        try:
            async with pool.take() as taken:
                yield taken
        finally:
            self._taken -= 1
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

    def _is_busy(self) -> bool:
        return self._taken >= self._processors

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(TEND_EVERY_S)
            self.resize()
            async with asyncio.TaskGroup() as group:
                for pool in self._pools.values():
                    group.create_task(pool.tend(self._age_s))

    def _pool(self, backend: Backend, spec: SandboxSpec) -> Pool:
        if self._keepers is None:
            raise StartFailed("the pools are closed")
        pool = self._pools.get((backend.isolation, spec))
        if pool is None:
            pool = Pool(backend, spec, self._start_timeout_s, self._keepers, self._is_busy)
            self._pools[backend.isolation, spec] = pool
        return pool
