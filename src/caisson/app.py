"""The composition root: from settings to a server that listens."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from ulid import ULID

from caisson import __version__, metrics, telemetry
from caisson.api.protocol import BoundedProtocol, RefusingProtocol
from caisson.api.server import create_app
from caisson.backends import closing, load_backends
from caisson.compare.service import Benchmarks
from caisson.engine.engine import Engine
from caisson.engine.reclaim import reclaiming, running
from caisson.errors import CaissonError
from caisson.host.accepting import Acceptor
from caisson.host.network.slots import Slots
from caisson.host.reserve import keeping
from caisson.images.jobs import ImageJobs
from caisson.sandbox.contract import BackendContext
from caisson.settings import Settings, is_loopback, split_listen, split_server
from caisson.store.claim import DatabaseInUse, only_server
from caisson.store.store import Store, open_store
from caisson.store.threads import standing_threads

logger = structlog.get_logger(__name__)

KEEP_ALIVE_S = 75
GIL_SWITCH_S = 0.0005
"""How long a busy event loop may keep the store's writer from going on after a flush. Python's 5 ms would be most of a
request's time."""
CLOSE_CONNECTIONS_S = 5
SWEEP_EVERY_S = 600


class StartupError(CaissonError):
    """The server cannot start; `fix` says what to do about it."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartupError if it cannot start."""
    telemetry.configure(settings)
    sys.setswitchinterval(GIL_SWITCH_S)
    with _own(settings.data_dir), _listen(settings.listen) as listener:
        uvloop.run(_serve(settings, listener))


async def _serve(settings: Settings, listener: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(standing_threads(min(32, settings.cpus + 4), "worker"))
    metrics.loop_tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_app(settings) as (app, engine):
        server = _Server(
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=CLOSE_CONNECTIONS_S,
            )
        )
        # What start-up made stays for good: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve([listener]))
            images: ImageJobs = app.state.services.images
            group.create_task(_stop_when_told(stop, serving, server, engine, images, settings.shutdown_grace_s))
            host, port = listener.getsockname()[:2]
            logger.info("serving", address=f"http://{host}:{port}", version=__version__)
            await serving
            stop.set()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Being told once more while the interpreter ends must not turn a good end into a death by signal.
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    logger.info("stopped")


async def _stop_when_told(
    stop: asyncio.Event,
    serving: asyncio.Task[None],
    server: _Server,
    engine: Engine,
    images: ImageJobs,
    grace_s: float,
) -> None:
    await stop.wait()
    if not serving.done():
        logger.info("shutting down", grace_s=grace_s)
        await engine.drain(grace_s)
        # Who follows a build or pull learns of its end while there still is a server to say so.
        images.stop()
        server.should_exit = True


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[tuple[FastAPI, Engine]]:
    """The application with all it stands on, ready to be served."""
    node_id = settings.node_id or _node_id(settings.data_dir)
    node_dir = settings.data_dir / "node"
    for folder in (node_dir, settings.data_dir / "uploads"):
        folder.mkdir(mode=0o700, exist_ok=True)
    with _be_the_only(node_id), running(node_dir) as left, keeping():
        async with (
            _slots(settings, node_id).open() as slots,
            _only_server(settings.store_url),
            open_store(settings.store_url) as store,
        ):
            backends = load_backends(settings.backends, BackendContext(node_id, node_dir, settings, slots))
            host, _ = split_listen(settings.listen)
            if not is_loopback(host) and settings.oidc_issuer is None and not await _any_key_in_force(store):
                raise StartupError(
                    f"{settings.listen} can be reached from other machines, and no API key is in force",
                    "make one with `caisson keys create`, or listen on 127.0.0.1",
                )
            async with (
                closing(backends),
                reclaiming(node_dir, left, backends, slots),
                Engine(settings, store, backends, node_id).open() as engine,
                Benchmarks(engine, store, node_id).open() as benchmarks,
                ImageJobs(settings).open() as images,
                _sweeping(store, settings),
            ):
                yield create_app(engine, settings, store, benchmarks, images), engine


async def _any_key_in_force(store: Store) -> bool:
    now = datetime.now(UTC)
    return any(key.valid(now) for key in await store.list_keys())


def _slots(settings: Settings, node_id: str) -> Slots:
    return Slots(
        node_id,
        settings.network_links,
        ahead=settings.network_ahead,
        forbidden=settings.network_forbidden,
        servers=[split_server(server) for server in settings.name_servers],
    )


@asynccontextmanager
async def _sweeping(store: Store, settings: Settings) -> AsyncIterator[None]:
    """Let the store forget what is over its age or size, from time to time."""

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                removed = await store.sweep(settings)
            except Exception as error:
                # The server goes on, whatever it was.
                logger.error("old workloads could not be removed", error=getattr(error, "detail", repr(error)))
            else:
                logger.info("swept", removed=removed)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(sweep())
        try:
            yield
        finally:
            task.cancel()


class _Server(uvicorn.Server):
    """uvicorn without signal handling: this module must first drain the engine, then stop listening.

    And without a server of the loop's own, see `Acceptor`.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept on these sockets."""
        await self.lifespan.startup()
        whose = (self.config, self.server_state, self.lifespan.state)
        accepting = [
            Acceptor(
                listener,
                self.config.backlog,
                lambda: BoundedProtocol(*whose),
                lambda ended: RefusingProtocol(*whose, ended),
            )
            for listener in sockets or ()
        ]
        self.servers = accepting  # type: ignore[assignment]  # uvicorn only closes them, and waits for that
        self.started = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


@asynccontextmanager
async def _only_server(url: str) -> AsyncIterator[None]:
    async with AsyncExitStack() as held:
        try:
            await held.enter_async_context(only_server(url))
        except DatabaseInUse as error:
            raise StartupError(
                error.message,
                "stop it, or choose another CAISSON_DATABASE_URL; one whose machine died lets go within half a minute",
            ) from error
        yield


@contextmanager
def _own(data_dir: Path) -> Iterator[None]:
    """Hold the data folder: two servers on one would take each other's sandboxes for leftovers."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartupError(
            f"the data folder {data_dir} cannot be used: {error.strerror}", "choose another with --data-dir"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartupError(
                f"another server uses the data folder {data_dir}", "stop it, or choose another with --data-dir"
            ) from error
        yield
    finally:
        os.close(lock)


@contextmanager
def _be_the_only(node_id: str) -> Iterator[None]:
    """Hold the node's name on this host: control groups and networks bear it, and leftovers are known by it."""
    with socket.socket(socket.AF_UNIX) as name:
        try:
            # An abstract name: it is given back however this process ends, and no file stays behind.
            name.bind(f"\0caisson-node-{node_id}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise StartupError(
                f"another server on this host is the node {node_id}", "stop it, or choose another CAISSON_NODE_ID"
            ) from error
        yield


@contextmanager
def _listen(address: str) -> Iterator[socket.socket]:
    host, port = split_listen(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise StartupError(
                f"cannot listen on {address}: {error.strerror}", "free the port, or choose another with --listen"
            ) from error
        yield listener
    finally:
        listener.close()


def _node_id(data_dir: Path) -> str:
    path = data_dir / "node-id"
    # Empty where a server was killed while it wrote it.
    if not path.exists() or not path.read_text().strip():
        path.write_text(f"node-{str(ULID())[-10:].lower()}\n")
    return path.read_text().strip()
