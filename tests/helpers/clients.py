"""Lets one test drive the sync and the async client alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from caisson import AsyncClient


class DrivenAsyncClient:
    """An AsyncClient that can be used as if it were a Client."""

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(url, api_key)

    def __enter__(self) -> DrivenAsyncClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: object, **keywords: object) -> Any:
            result = method(*args, **keywords)
            return self._each(result) if hasattr(result, "__anext__") else self._runner.run(result)

        return call

    def _each(self, items: Any) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(items)

        while True:
            try:
                yield self._runner.run(following())
            except StopAsyncIteration:
                return
