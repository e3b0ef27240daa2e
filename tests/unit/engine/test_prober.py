"""What does not work is probed again, and what works stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from caisson.engine import prober
from caisson.engine.pool import Pools
from caisson.engine.prober import Prober
from caisson.images.catalog import Catalog
from caisson.model import Isolation, Runtime
from caisson.sandbox.contract import Capabilities
from tests.helpers.images import small_image
from tests.unit.engine.test_pool import Boots, eventually

BAD = Capabilities(Isolation.ISOLATE, available=False, reason="busy")
GOOD = Capabilities(Isolation.ISOLATE, available=True, runtimes=frozenset({Runtime.NODE}))
LACKING = Capabilities(Isolation.ISOLATE, available=True, missing={Runtime.WASM: "busy"})


class Moody(Boots):
    """A backend whose probe finds these things, one after the other; the last for ever."""

    def __init__(self, *answers: Capabilities | Exception) -> None:
        super().__init__()
        self.answers = list(answers)
        self.probes = 0

    async def probe(self) -> Capabilities:
        self.probes += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def probing(backend: Moody, catalog: Catalog) -> AsyncIterator[tuple[Prober, Pools]]:
    async with Pools(5).open() as pools:
        asked = Prober({backend.isolation: backend}, pools, catalog)
        await asked.begin()
        keeping = asyncio.create_task(asked.keep())
        try:
            yield asked, pools
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """One without images; whoever uses it does not wait long between probes."""
    for name, value in (("LOOK_EVERY_S", 0.005), ("AGAIN_AFTER_S", 0.01)):
        monkeypatch.setattr(prober, name, value)
    return Catalog(tmp_path / "images")


def ready(pools: Pools) -> list[int]:
    return [pool.ready for pool in pools.views().get(Isolation.ISOLATE, [])]


def states(asked: Prober) -> tuple[bool, str | None]:
    found = asked.found[Isolation.ISOLATE]
    return found.available, found.reason


def test_what_did_not_come_up_at_the_start_is_there_later_and_sandboxes_wait(catalog: Catalog) -> None:
    async def main() -> None:
        async with probing(Moody(RuntimeError("odd"), BAD, GOOD), catalog) as (asked, pools):
            assert states(asked) == (False, "its probe failed: RuntimeError('odd')")
            await eventually(lambda: asked.found[Isolation.ISOLATE] is GOOD, "the backend to work")
            await eventually(lambda: ready(pools) == [1], "a sandbox to wait")

    asyncio.run(main())


def test_what_works_is_not_taken_away_and_what_works_whole_not_probed_again(catalog: Catalog) -> None:
    async def main() -> None:
        backend = Moody(LACKING, BAD, LACKING, GOOD)
        async with probing(backend, catalog) as (asked, _):
            await eventually(lambda: backend.probes == 3, "two more probes")
            assert asked.found[Isolation.ISOLATE].available
            await eventually(lambda: asked.found[Isolation.ISOLATE] is GOOD, "the rest to work")
            await asyncio.sleep(0.1)
            assert backend.probes == 4

    asyncio.run(main())


@pytest.mark.parametrize("answer", [BAD, GOOD])
def test_images_that_come_are_seen_by_what_works_and_by_what_does_not(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, answer: Capabilities
) -> None:
    monkeypatch.setattr(prober, "AGAIN_AFTER_S", 3_600)

    async def main() -> None:
        backend = Moody(answer)
        async with probing(backend, catalog):
            await asyncio.sleep(0.1)
            assert backend.probes == 1
            await asyncio.to_thread(small_image, catalog, "base")
            await eventually(lambda: backend.probes == 2, "the image to be seen")
            await asyncio.sleep(0.1)
            assert backend.probes == 2

    asyncio.run(main())
