"""The asynchronous client; each method does what its namesake in `sync` does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Self, TypeVar, Unpack

import httpx2
import stamina

from caisson.answers import BackendView, LogPage, NodeView, Stats
from caisson.benchmark import Benchmark, BenchmarkPage, BenchmarkProgress, BenchmarkRequest, BenchmarkResult
from caisson.client import calls, transport
from caisson.client.errors import ClientError
from caisson.client.following import BenchmarkFollower, Follower, LogFollower
from caisson.client.pack import open_archive
from caisson.client.shapes import Filters, Page, Workload
from caisson.client.spec import SpecOptions, spec_of
from caisson.client.waiting import Wait
from caisson.model import LogLine, WorkloadSpec
from caisson.tenants import AuditPage

T = TypeVar("T")
E = TypeVar("E")
PathText = str | os.PathLike[str]


class AsyncClient:
    """Talks to one server; for one event loop. Close it, or use it as an async context manager.

    `url` is CAISSON_API and `api_key` CAISSON_API_KEY where left out. Connects directly, never through a proxy.
    Raises ApiError for refusals and Unreachable where no answer came; what is safe to repeat was repeated before.
    """

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        self.url = transport.server_url(url)
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            headers=transport.default_headers(api_key),
            transport=httpx2.AsyncHTTPTransport(socket_options=transport.socket_options()),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._http.aclose()

    async def run(
        self,
        spec: WorkloadSpec | None = None,
        /,
        *,
        archive: PathText | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[SpecOptions],
    ) -> Workload:
        """Run a workload and return it finished. If this process goes away meanwhile, the workload is killed.

        Takes a WorkloadSpec, or its members as keywords. `archive` is a folder or a file, which is packed, or a tar.gz.
        """
        return await self._post(calls.run, spec, options, archive, idempotency_key)

    async def submit(
        self,
        spec: WorkloadSpec | None = None,
        /,
        *,
        archive: PathText | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[SpecOptions],
    ) -> Workload:
        """Hand a workload over and return it as soon as the server has it on disk; arguments as for `run`."""
        return await self._post(calls.submit, spec, options, archive, idempotency_key)

    async def get(self, workload_id: str, *, wait_s: float = 0) -> Workload:
        """One workload; with `wait_s`, as it is when it ends or when that much time has passed."""
        return await self._send(calls.get(workload_id, wait_s))

    async def wait(self, workload_id: str, *, timeout_s: float | None = None) -> Workload:
        """One workload, finished. Raises TimeoutError if it is not after `timeout_s`."""
        wait = Wait(workload_id, timeout_s)
        while not (workload := await self._send(wait.call())).status.terminal:
            wait.check()
        return workload

    async def list(self, **filters: Unpack[Filters]) -> AsyncGenerator[Workload, None]:
        """All workloads, newest first, fetched as the iteration goes on."""
        cursor: str | None = None
        while True:
            page = await self.page(limit=100, cursor=cursor, **filters)
            for workload in page.workloads:
                yield workload
            if (cursor := page.next_cursor) is None:
                return

    async def page(self, *, limit: int = 20, cursor: str | None = None, **filters: Unpack[Filters]) -> Page:
        """One page of workloads, newest first, with how many there are in all."""
        return await self._send(calls.page(filters, limit, cursor))

    async def kill(self, workload_id: str) -> Workload:
        """Kill a workload; returns when it is verified dead."""
        return await self._send(calls.kill(workload_id))

    async def logs(self, workload_id: str, *, after: int = -1) -> AsyncGenerator[LogLine, None]:
        """The log from the line behind `after`, as it is written, until the workload ends; reconnects by itself."""
        async with aclosing(self._follow(LogFollower(self.url, workload_id, after))) as lines:
            async for line in lines:
                yield line

    async def _follow(self, follower: Follower[E]) -> AsyncGenerator[E, None]:
        patience = transport.PATIENCE
        while True:
            response = await self._open(follower.connect(), patience)
            patience, broken = transport.RECONNECT_PATIENCE, None
            try:
                with transport.errors_told(self.url):
                    async for chunk in response.aiter_bytes():
                        for event in follower.feed(chunk):
                            yield event
                        if follower.ended:
                            return
            except ClientError as error:
                broken = error
            finally:
                await response.aclose()
            await asyncio.sleep(follower.pause_s(broken))

    async def history(self, workload_id: str, *, after: int = -1, limit: int = 1000) -> LogPage:
        """Stored lines behind line `after`; pass the answer's `next_seq` as the next `after`."""
        return await self._send(calls.history(workload_id, after, limit))

    async def backends(self) -> Sequence[BackendView]:
        """What each isolation can do on the server."""
        return await self._send(calls.backends())

    async def nodes(self) -> Sequence[NodeView]:
        """Every node."""
        return await self._send(calls.nodes())

    async def node(self, node_id: str) -> NodeView:
        """One node."""
        return await self._send(calls.node(node_id))

    async def stats(self) -> Stats:
        """Counts, latencies and time series."""
        return await self._send(calls.stats())

    async def benchmark(self, request: BenchmarkRequest | None = None, /) -> Benchmark:
        """Begin to compare the isolations, with the built-in suite or the request's workload; one at a time."""
        return await self._send(calls.start_benchmark(request or BenchmarkRequest()))

    async def get_benchmark(self, benchmark_id: str) -> Benchmark:
        """One benchmark with its results so far."""
        return await self._send(calls.benchmark(benchmark_id))

    async def benchmarks(self, *, limit: int = 20, cursor: str | None = None) -> BenchmarkPage:
        """One page of benchmarks, newest first, without their results."""
        return await self._send(calls.benchmark_page(limit, cursor))

    async def cancel_benchmark(self, benchmark_id: str) -> Benchmark:
        """End a benchmark; what was measured before stays."""
        return await self._send(calls.cancel_benchmark(benchmark_id))

    async def follow_benchmark(self, benchmark_id: str) -> AsyncIterator[BenchmarkResult | BenchmarkProgress]:
        """The results of a benchmark, and in between how far it is, until it ends; reconnects by itself."""
        async with aclosing(self._follow(BenchmarkFollower(self.url, benchmark_id))) as events:
            async for event in events:
                yield event

    async def audit(
        self,
        *,
        limit: int = 100,
        before: int | None = None,
        tenant: str | None = None,
        actor: str | None = None,
        action: str | None = None,
    ) -> AuditPage:
        """Who did what, newest first; pass the answer's `next_before` as the next `before`."""
        return await self._send(calls.audit(limit, before, tenant, actor, action))

    async def health(self) -> None:
        """Return if the server is ready for workloads; ApiError says why it is not."""
        await self._send(calls.health())

    async def _post(
        self,
        call: calls.Post,
        spec: WorkloadSpec | None,
        options: SpecOptions,
        archive: PathText | None,
        key: str | None,
    ) -> Workload:
        spec = spec_of(spec, options)
        if archive is None:
            return await self._send(call(spec, None, key))
        with await asyncio.to_thread(open_archive, Path(archive)) as packed:
            return await self._send(call(spec, packed, key))

    async def _send(self, call: calls.Call[T]) -> T:
        again = stamina.AsyncRetryingCaller(**transport.PATIENCE)
        return await again(transport.worth_retrying(call), self._exchange, call)

    async def _exchange(self, call: calls.Call[T]) -> T:
        with transport.errors_told(self.url):
            response = await self._http.request(call.method, call.path, **transport.request_arguments(call))
        return calls.decode(call, self.url, response.status_code, response.headers, response.content)

    async def _open(self, call: calls.Call[None], patience: transport.Patience) -> httpx2.Response:
        again = stamina.AsyncRetryingCaller(**patience)
        return await again(transport.worth_retrying(call), self._connect, call)

    async def _connect(self, call: calls.Call[None]) -> httpx2.Response:
        with transport.errors_told(self.url):
            request = self._http.build_request(call.method, call.path, **transport.request_arguments(call))
            response = await self._http.send(request, stream=True)
            if response.status_code != 200:
                content = await response.aread()
        if response.status_code != 200:
            raise calls.refusal(response.status_code, response.headers, content)
        return response
