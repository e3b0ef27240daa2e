"""The synchronous client."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
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


class Client:
    """Talks to one server; safe to use from several threads. Close it, or use it as a context manager.

    `url` is CAISSON_API and `api_key` CAISSON_API_KEY where left out. Connects directly, never through a proxy.
    Raises ApiError for refusals and Unreachable where no answer came; what is safe to repeat was repeated before.
    """

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        self.url = transport.server_url(url)
        self._http = httpx2.Client(
            base_url=self.url,
            headers=transport.default_headers(api_key),
            transport=httpx2.HTTPTransport(socket_options=transport.socket_options()),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._http.close()

    def run(
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
        return self._post(calls.run, spec, options, archive, idempotency_key)

    def submit(
        self,
        spec: WorkloadSpec | None = None,
        /,
        *,
        archive: PathText | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[SpecOptions],
    ) -> Workload:
        """Hand a workload over and return it as soon as the server has it on disk; arguments as for `run`."""
        return self._post(calls.submit, spec, options, archive, idempotency_key)

    def get(self, workload_id: str, *, wait_s: float = 0) -> Workload:
        """One workload; with `wait_s`, as it is when it ends or when that much time has passed."""
        return self._send(calls.get(workload_id, wait_s))

    def wait(self, workload_id: str, *, timeout_s: float | None = None) -> Workload:
        """One workload, finished. Raises TimeoutError if it is not after `timeout_s`."""
        wait = Wait(workload_id, timeout_s)
        while not (workload := self._send(wait.call())).status.terminal:
            wait.check()
        return workload

    def list(self, **filters: Unpack[Filters]) -> Iterator[Workload]:
        """All workloads, newest first, fetched as the iteration goes on."""
        cursor: str | None = None
        while True:
            page = self.page(limit=100, cursor=cursor, **filters)
            yield from page.workloads
            if (cursor := page.next_cursor) is None:
                return

    def page(self, *, limit: int = 20, cursor: str | None = None, **filters: Unpack[Filters]) -> Page:
        """One page of workloads, newest first, with how many there are in all."""
        return self._send(calls.page(filters, limit, cursor))

    def kill(self, workload_id: str) -> Workload:
        """Kill a workload; returns when it is verified dead."""
        return self._send(calls.kill(workload_id))

    def logs(self, workload_id: str, *, after: int = -1) -> Iterator[LogLine]:
        """The log from the line behind `after`, as it is written, until the workload ends; reconnects by itself."""
        return self._follow(LogFollower(self.url, workload_id, after))

    def _follow(self, follower: Follower[E]) -> Iterator[E]:
        patience = transport.PATIENCE
        while True:
            response = self._open(follower.connect(), patience)
            patience, broken = transport.RECONNECT_PATIENCE, None
            try:
                with transport.errors_told(self.url):
                    for chunk in response.iter_bytes():
                        yield from follower.feed(chunk)
                        if follower.ended:
                            return
            except ClientError as error:
                broken = error
            finally:
                response.close()
            time.sleep(follower.pause_s(broken))

    def history(self, workload_id: str, *, after: int = -1, limit: int = 1000) -> LogPage:
        """Stored lines behind line `after`; pass the answer's `next_seq` as the next `after`."""
        return self._send(calls.history(workload_id, after, limit))

    def backends(self) -> Sequence[BackendView]:
        """What each isolation can do on the server."""
        return self._send(calls.backends())

    def nodes(self) -> Sequence[NodeView]:
        """Every node."""
        return self._send(calls.nodes())

    def node(self, node_id: str) -> NodeView:
        """One node."""
        return self._send(calls.node(node_id))

    def stats(self) -> Stats:
        """Counts, latencies and time series."""
        return self._send(calls.stats())

    def benchmark(self, request: BenchmarkRequest | None = None, /) -> Benchmark:
        """Begin to compare the isolations, with the built-in suite or the request's workload; one at a time."""
        return self._send(calls.start_benchmark(request or BenchmarkRequest()))

    def get_benchmark(self, benchmark_id: str) -> Benchmark:
        """One benchmark with its results so far."""
        return self._send(calls.benchmark(benchmark_id))

    def benchmarks(self, *, limit: int = 20, cursor: str | None = None) -> BenchmarkPage:
        """One page of benchmarks, newest first, without their results."""
        return self._send(calls.benchmark_page(limit, cursor))

    def cancel_benchmark(self, benchmark_id: str) -> Benchmark:
        """End a benchmark; what was measured before stays."""
        return self._send(calls.cancel_benchmark(benchmark_id))

    def follow_benchmark(self, benchmark_id: str) -> Iterator[BenchmarkResult | BenchmarkProgress]:
        """The results of a benchmark, and in between how far it is, until it ends; reconnects by itself."""
        return self._follow(BenchmarkFollower(self.url, benchmark_id))

    def audit(
        self,
        *,
        limit: int = 100,
        before: int | None = None,
        tenant: str | None = None,
        actor: str | None = None,
        action: str | None = None,
    ) -> AuditPage:
        """Who did what, newest first; pass the answer's `next_before` as the next `before`."""
        return self._send(calls.audit(limit, before, tenant, actor, action))

    def health(self) -> None:
        """Return if the server is ready for workloads; ApiError says why it is not."""
        self._send(calls.health())

    def _post(
        self,
        call: calls.Post,
        spec: WorkloadSpec | None,
        options: SpecOptions,
        archive: PathText | None,
        key: str | None,
    ) -> Workload:
        spec = spec_of(spec, options)
        if archive is None:
            return self._send(call(spec, None, key))
        with open_archive(Path(archive)) as packed:
            return self._send(call(spec, packed, key))

    def _send(self, call: calls.Call[T]) -> T:
        again = stamina.RetryingCaller(**transport.PATIENCE)
        return again(transport.worth_retrying(call), self._exchange, call)

    def _exchange(self, call: calls.Call[T]) -> T:
        with transport.errors_told(self.url):
            response = self._http.request(call.method, call.path, **transport.request_arguments(call))
        return calls.decode(call, self.url, response.status_code, response.headers, response.content)

    def _open(self, call: calls.Call[None], patience: transport.Patience) -> httpx2.Response:
        again = stamina.RetryingCaller(**patience)
        return again(transport.worth_retrying(call), self._connect, call)

    def _connect(self, call: calls.Call[None]) -> httpx2.Response:
        with transport.errors_told(self.url):
            request = self._http.build_request(call.method, call.path, **transport.request_arguments(call))
            response = self._http.send(request, stream=True)
            if response.status_code != 200:
                content = response.read()
        if response.status_code != 200:
            raise calls.refusal(response.status_code, response.headers, content)
        return response
