"""The backends: each isolation is a package of its own, found through entry points."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import entry_points

from caisson.errors import Unavailable
from caisson.model import Isolation
from caisson.sandbox.contract import ENTRY_POINT_GROUP, Backend, BackendContext, Closing


def load_backends(names: Sequence[str], context: BackendContext) -> dict[Isolation, Backend]:
    """The backends with these entry-point names. Raises Unavailable for a name that no installed package offers."""
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    backends: dict[Isolation, Backend] = {}
    for name in names:
        if name not in found:
            known = ", ".join(sorted(found)) or "none"
            raise Unavailable(
                f"there is no backend `{name}` (installed: {known})",
                fix="correct CAISSON_BACKENDS, or install the package that has it",
            )
        backend: Backend = found[name].load()(context)
        backends[backend.isolation] = backend
    return backends


@asynccontextmanager
async def closing(backends: Mapping[Isolation, Backend]) -> AsyncIterator[None]:
    """At the end, have them let go of what they keep."""
    async with AsyncExitStack() as stack:
        for backend in backends.values():
            if isinstance(backend, Closing):
                stack.push_async_callback(backend.close)
        yield
