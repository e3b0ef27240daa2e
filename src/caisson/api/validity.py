"""Ends what a key began when the key ends: a stream or a request that waits does not outlive it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import NoReturn

import structlog

from caisson.store.errors import StoreError
from caisson.store.store import Store

logger = structlog.get_logger(__name__)

CHECK_S = 1.0
"""A key may be revoked by another process, so the store is asked this often."""


class KeyEnded(Exception):
    """The key of a request was revoked, or expired, while the request was worked on."""


Ending = Callable[[], Awaitable[None]]
"""Returns when what a request came with is in force no more."""


@dataclass(slots=True)
class _Watched:
    """What is known of a key that something waits with."""

    waiting: int = 0
    valid: bool = True
    checked_at: float = float("-inf")


class Validity:
    """Whether keys are still in force. However many wait with one key, the store is asked for it once a second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watched: dict[str, _Watched] = {}

    async def ended(self, digest: str) -> None:
        """Return when the key with this digest is in force no more."""
        watched = self._watched.setdefault(digest, _Watched())
        watched.waiting += 1
        try:
            while watched.valid:
                await asyncio.sleep(CHECK_S)
                await self._check(digest, watched)
        finally:
            watched.waiting -= 1
            if not watched.waiting:
                del self._watched[digest]

    async def _check(self, digest: str, watched: _Watched) -> None:
        if monotonic() - watched.checked_at < CHECK_S / 2:
            return
        watched.checked_at = monotonic()
        try:
            watched.valid = await self._store.find_key(digest) is not None
        except StoreError as error:
            # Nobody's stream ends because the database is busy; a new request would not be let in meanwhile.
            logger.warning("a key that is in use could not be looked up", error=error.detail)


async def expired(at: datetime) -> None:
    """Return at this moment, by the wall clock."""
    while (left_s := (at - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110 - nobody tells when it is time
        # The wall clock may be set meanwhile.
        await asyncio.sleep(min(left_s, CHECK_S))


async def raise_when_ended(ended: Ending) -> NoReturn:
    """Wait for the end of what a request came with, then raise KeyEnded."""
    await ended()
    raise KeyEnded
