"""Stand-ins for what lies below the API: an engine that remembers what it was asked, and a store of keys."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx2
from fastapi import FastAPI
from msgspec import Raw
from prometheus_client import CollectorRegistry

from caisson.answers import LogPage, WorkloadPage
from caisson.api.server import create_app
from caisson.compare.service import Benchmarks
from caisson.engine.engine import Engine
from caisson.engine.intake import Submission
from caisson.errors import Refusal, Refused
from caisson.images.jobs import ImageJobs
from caisson.model import IsolationChoice, LogLine, Runtime, Status, Stream, Workload
from caisson.settings import Settings
from caisson.store.errors import StoreError
from caisson.store.records import ApiKey, KeyScope, ListQuery
from caisson.store.store import Store
from caisson.tenants import AuditEntry

KNOWN_ID = "01J00000000000000000000000"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WORKLOAD = Workload(
    id=KNOWN_ID,
    status=Status.COMPLETED,
    runtime=Runtime.NODE,
    isolation=IsolationChoice.AUTO,
    output=Raw(b'{"a": 1}'),
    exit_code=0,
    created_at=NOW,
)


def line(seq: int, text: str = "hello") -> LogLine:
    return LogLine(seq=seq, stream=Stream.STDOUT, line=text, ts=NOW)


@dataclass
class EngineDouble:
    """Answers at once, unless `hang` is set: then `run` and `follow` wait for ever."""

    hang: bool = False
    refusal: Refused | None = None
    problem: str | None = None
    log: list[LogLine] = field(default_factory=list)
    submissions: list[Submission] = field(default_factory=list)
    queries: list[ListQuery] = field(default_factory=list)
    working: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: bool = False
    followers: int = 0

    async def run(self, submission: Submission) -> Workload:
        self.submissions.append(submission)
        if self.refusal:
            raise self.refusal
        try:
            self.working.set()
            if self.hang:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return WORKLOAD

    accept = run

    async def get(self, workload_id: str, tenant: str, wait_s: float = 0) -> Workload:
        if workload_id != KNOWN_ID or tenant != "default":
            raise Refused(404, Refusal.NOT_FOUND, f"there is no workload {workload_id}", member="id")
        return WORKLOAD

    async def kill(self, workload_id: str, tenant: str) -> Workload:
        return await self.get(workload_id, tenant)

    async def list(self, query: ListQuery) -> WorkloadPage:
        self.queries.append(query)
        return WorkloadPage(workloads=[WORKLOAD], total=1, next_cursor=None, limit=query.limit, offset=query.offset)

    async def follow(
        self, workload_id: str, tenant: str, after: int
    ) -> AsyncGenerator[Sequence[LogLine] | Workload, None]:
        self.followers += 1
        try:
            self.working.set()
            yield [line for line in self.log if line.seq > after]
            if self.hang:
                await asyncio.Event().wait()
            yield WORKLOAD
        finally:
            self.followers -= 1

    async def history(self, workload_id: str, tenant: str, after: int, limit: int) -> LogPage:
        await self.get(workload_id, tenant)
        lines = [line for line in self.log if line.seq > after][:limit]
        return LogPage(workload_id=workload_id, lines=lines, next_seq=lines[-1].seq if lines else after)

    async def readiness(self) -> str | None:
        return self.problem


@dataclass
class KeysDouble:
    """Knows API keys by their secret."""

    keys: dict[str, ApiKey] = field(default_factory=dict)
    touched: list[str] = field(default_factory=list)
    noted: list[AuditEntry] = field(default_factory=list)
    fails: bool = False

    def add(self, secret: str, *scopes: str, **changes: Any) -> None:
        digest = hashlib.sha256(secret.encode()).hexdigest()
        given = {"tenant": "default", "prefix": secret[:4], "created_at": NOW, **changes}
        self.keys[secret] = ApiKey(digest=digest, scopes=frozenset(map(KeyScope, scopes)), **given)

    async def find_key(self, digest: str) -> ApiKey | None:
        if self.fails:
            raise StoreError("the disk is full")
        return next((key for key in self.keys.values() if key.digest == digest and key.valid(datetime.now(UTC))), None)

    def note(self, entry: AuditEntry) -> None:
        self.noted.append(entry)

    async def touch_key(self, digest: str, now: datetime) -> None:
        self.touched.append(digest)


def make_app(engine: EngineDouble, data_dir: Path, keys: KeysDouble | None = None, **settings: Any) -> FastAPI:
    given = Settings(data_dir=data_dir, **settings)
    store = cast(Store, keys or KeysDouble())
    return create_app(cast(Engine, engine), given, store, cast(Benchmarks, None), ImageJobs(given), CollectorRegistry())


@asynccontextmanager
async def client(app: FastAPI, **arguments: Any) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8080", **arguments) as http:
        yield http
