"""Everything that can be built, roots and kernels alike, by name; several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from caisson.images import definitions, kernels
from caisson.images.build import Maker, build, ensure
from caisson.images.catalog import Catalog, Image
from caisson.images.definitions import Definition
from caisson.images.errors import ImageMissing
from caisson.images.progress import Report, silent

AT_ONCE = 2
"""Builds at one time: each waits for the network and the disk as much as for a processor."""


def names() -> list[str]:
    """All that can be built, the kernels last."""
    return [*definitions.names(), *kernels.NAMES]


def definition(name: str) -> Definition:
    """How to build it; raises ImageMissing if nobody knows."""
    if name not in names():
        raise ImageMissing(f"there is no definition of an image {name}; there are: {', '.join(names())}")
    return kernels.definition(name) if name in kernels.NAMES else definitions.load(name)


def maker(name: str) -> Maker:
    """What builds it."""
    return kernels.build_kernel if name in kernels.NAMES else build


async def build_all(
    catalog: Catalog,
    wanted: Sequence[str],
    *,
    missing: bool = False,
    mirror: str | None = None,
    report: Report = silent,
) -> list[Image]:
    """Build the images of these names, with `missing` only those that are not there or out of date; two at once.

    Raises ImageError for the first that fails, and stops the others; for a name that nobody knows before any begins.
    """
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(found: Definition) -> Image:
        make = maker(found.name)
        async with turns:
            if missing:
                return await ensure(catalog, found, make=make, mirror=mirror, report=report)
            return await make(catalog, found, mirror=mirror, report=report)

    found = [definition(name) for name in wanted]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(each)) for each in found]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
