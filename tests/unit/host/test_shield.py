"""Clean-up: last in first out, all of it, once, and never cut short."""

from __future__ import annotations

import asyncio

import pytest

from caisson.host.shield import Teardown, acquired, uninterrupted


def test_everything_is_undone_in_reverse_order_once() -> None:
    """A second close does nothing."""
    done: list[int] = []

    async def main() -> None:
        teardown = Teardown()
        for number in range(3):
            teardown.push(lambda number=number: done.append(number))  # type: ignore[misc]  # the default binds it
        await teardown.close()
        await teardown.close()

    asyncio.run(main())
    assert done == [2, 1, 0]


def test_failures_do_not_stop_the_rest_and_are_raised_together() -> None:
    """Both errors arrive, and the step between them was taken."""
    done: list[str] = []

    def fail(text: str) -> None:
        raise ValueError(text)

    async def main() -> None:
        teardown = Teardown()
        teardown.push(lambda: fail("first"))
        teardown.push(lambda: done.append("middle"))
        teardown.push(lambda: fail("last"))
        await teardown.close()

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert sorted(str(error) for error in caught.value.exceptions) == ["first", "last"]
    assert done == ["middle"]


def test_a_cancellation_waits_for_the_work() -> None:
    """The work ends, and then the cancellation is felt."""
    finished = asyncio.Event()
    may_end = asyncio.Event()

    async def work() -> None:
        await may_end.wait()
        finished.set()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(uninterrupted(work()))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            assert not task.done()
            may_end.set()
        assert task.cancelled()

    asyncio.run(main())
    assert finished.is_set()


@pytest.mark.parametrize("cancelled", [False, True])
def test_what_a_cancellation_keeps_from_the_caller_is_released_and_else_is_the_caller_s(cancelled: bool) -> None:
    released: list[str] = []

    async def main() -> None:
        may_end = asyncio.Event()

        async def work() -> str:
            await may_end.wait()
            return "it"

        task = asyncio.create_task(acquired(work(), released.append))
        await asyncio.sleep(0)
        if cancelled:
            task.cancel()
            await asyncio.sleep(0)
        may_end.set()
        await asyncio.wait([task])
        assert task.cancelled() is cancelled
        assert cancelled or task.result() == "it"

    asyncio.run(main())
    assert released == ["it"] * cancelled
