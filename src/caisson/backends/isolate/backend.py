"""The isolate backend: Deno and wasmtime, one process for each workload, under bubblewrap."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import replace

from caisson.backends.isolate.boot import boot
from caisson.backends.isolate.deno import find_deno
from caisson.backends.isolate.guest import Guest
from caisson.backends.isolate.host import check_host, explain
from caisson.backends.isolate.jail import Place
from caisson.backends.isolate.stage import NO_STAGE, Stage, set_stage
from caisson.backends.isolate.wasm import find_wasmtime
from caisson.backends.leftovers import Living
from caisson.errors import SandboxError, StartFailed, Unavailable
from caisson.host.cgroup import CgroupError, SharedTree
from caisson.host.reserve import require
from caisson.model import Isolation, Resources, Runtime
from caisson.sandbox.contract import BackendContext, Capabilities, Sandbox, SandboxSpec
from caisson.settings import Settings

_SYSTEM_FOLDERS = ("/usr", "/lib", "/lib64", "/bin")
"""Where everybody may read, so that nothing there needs a stage."""
_FINDERS = {Runtime.NODE: find_deno, Runtime.WASM: find_wasmtime}


class IsolateBackend:
    """A `Backend` of the contract."""

    name = "isolate"
    isolation = Isolation.ISOLATE

    def __init__(self, context: BackendContext) -> None:
        if not isinstance(context.settings, Settings):
            raise TypeError("the isolate backend needs caisson's own settings")
        self._settings = context.settings
        self._sandboxes = context.node_dir / "isolate"
        self._guests: dict[Runtime, Guest] = {}
        self._stage: Stage = NO_STAGE
        self._tree = SharedTree(context.node_id)
        self._living = Living(self._sandboxes, self._settings.jail_uid_base)

    async def probe(self) -> Capabilities:
        """See `Backend.probe`. Boots one sandbox of each runtime to know."""
        try:
            facts = await check_host()
            proven = set(self._guests)
            missing = await self._find_guests()
            await self._prepare_stage()
            for runtime in self._guests.keys() - proven:
                try:
                    async with self.boot(SandboxSpec(runtime, mem_mb=64, disk_mb=1)):
                        pass
                except StartFailed as error:
                    missing[runtime] = explain(error).message
                    del self._guests[runtime]
                    if not self._guests:
                        raise explain(error) from error
        except SandboxError as error:
            fix = error.fix if isinstance(error, Unavailable) else None
            return Capabilities(self.isolation, available=False, reason=error.message, fix=fix)
        with self._tree.use() as tree:
            controllers, lacking = tree.controllers, tree.missing
        limits = {"mem_mb", "disk_mb", "timeout_s", "max_output_bytes"}
        limits |= {"cpus"} if "cpu" in controllers else set()
        limits |= {"pids"} if "pids" in controllers or os.getuid() == 0 else set()
        facts |= {guest.name: guest.version for guest in self._guests.values()}
        facts["cgroup"] = ", ".join(sorted(controllers)) or "none: " + next(iter(lacking.values()), "")
        return Capabilities(
            self.isolation,
            available=True,
            runtimes=frozenset(self._guests),
            missing=missing,
            limits=frozenset(limits),
            facts=facts,
        )

    def pool_spec(self, spec: SandboxSpec) -> SandboxSpec:
        """See `Backend.pool_spec`. Sizes are fixed when a jail is built, so each has a pool of its own."""
        return replace(spec, cpus=1.0)

    def warm(self) -> Mapping[SandboxSpec, int]:
        """See `Backend.warm`: sandboxes of the default size."""
        wanted = {Runtime.NODE: self._settings.warm_node, Runtime.WASM: self._settings.warm_wasm}
        default = Resources()
        return {
            SandboxSpec(runtime, default.mem_mb, default.disk_mb): count
            for runtime, count in wanted.items()
            if count and runtime in self._guests
        }

    async def prepare(self, spec: SandboxSpec) -> None:
        """See `Backend.prepare`. All it needs is here, or the probe would have said so."""

    def boot(self, spec: SandboxSpec) -> AbstractAsyncContextManager[Sandbox]:
        """See `Backend.boot`."""
        return self._boot(spec)

    async def reclaim(self) -> int:
        """See `Backend.reclaim`."""
        with self._tree.use() as tree:
            return await self._living.remove_others(tree)

    @asynccontextmanager
    async def _boot(self, spec: SandboxSpec) -> AsyncIterator[Sandbox]:
        guest = self._guests.get(spec.runtime)
        if guest is None:
            raise Unavailable(f"this host has nothing that runs {spec.runtime} in an isolate")
        if spec.network != "none":
            raise Unavailable("the isolate backend gives no network")
        with ExitStack() as stack:
            place = self._make_place(stack)
            async with boot(place, spec, guest, self._settings.start_timeout_s) as sandbox:
                yield sandbox

    def _make_place(self, stack: ExitStack) -> Place:
        name = secrets.token_hex(8)
        try:
            require()
            tree = stack.enter_context(self._tree.use())
            uid = stack.enter_context(self._living.user())
            stack.enter_context(self._living.named(name))
            group = tree.group(name)
        except (CgroupError, OSError) as error:
            raise StartFailed("the sandbox did not start", detail=str(error)) from error
        own_uid = uid if self._stage.namespace_fd is not None else None
        return Place(name, self._sandboxes / name, group, self._stage, own_uid)

    async def _find_guests(self) -> dict[Runtime, str]:
        missing = {}
        for runtime, find in _FINDERS.items():
            try:
                self._guests[runtime] = await find()
            except Unavailable as error:
                missing[runtime] = f"{error.message} ({error.fix})"
        if not self._guests:
            raise Unavailable("neither Deno nor wasmtime works here", fix="; ".join(missing.values()))
        return missing

    async def _prepare_stage(self) -> None:
        await asyncio.to_thread(self._sandboxes.mkdir, 0o711, parents=True, exist_ok=True)
        if os.getuid() != 0 or self._stage is not NO_STAGE:
            return
        sources = {mount.source for guest in self._guests.values() for mount in guest.mounts}
        private = sorted(path for path in sources if not str(path).startswith(_SYSTEM_FOLDERS))
        self._stage = await set_stage([*private, self._sandboxes])
