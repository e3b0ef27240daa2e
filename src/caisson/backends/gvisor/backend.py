"""The gvisor backend: runsc, driven directly, with the guest agent as each sandbox's first process."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace

import structlog

from caisson.backends.binaries import Binaries
from caisson.backends.gvisor.boot import Place, boot
from caisson.backends.gvisor.bundle import World, agent_command
from caisson.backends.gvisor.roots import Root, Roots
from caisson.backends.gvisor.runsc import Runsc, find_runsc, mistakes_namespaces
from caisson.backends.leftovers import Living
from caisson.errors import SandboxError, StartFailed, Unavailable
from caisson.host.cgroup import CgroupError, SharedTree
from caisson.host.network.gate import NetworkError
from caisson.host.network.slots import ALL_KINDS, Slot
from caisson.host.reserve import require, spending
from caisson.model import Isolation, Resources, Runtime
from caisson.sandbox.contract import BackendContext, Capabilities, Sandbox, SandboxSpec
from caisson.sandbox.guest import guest_folder
from caisson.sandbox.launch import ENVIRONMENT
from caisson.sandbox.runtimes.launching import harness_command
from caisson.settings import Settings

logger = structlog.get_logger(__name__)

DISK_MB = Resources().disk_mb
"""Disk of a sandbox that waits; it serves every request for no more than that."""
_PROBE_S = 20.0


class GvisorBackend:
    """A `Backend` of the contract."""

    name = "gvisor"
    isolation = Isolation.GVISOR

    def __init__(self, context: BackendContext) -> None:
        if not isinstance(context.settings, Settings):
            raise TypeError("the gvisor backend needs caisson's own settings")
        self._settings = context.settings
        self._folder = context.node_dir / "gvisor"
        self._living = Living(self._folder / "sandboxes", self._settings.jail_uid_base)
        self._roots = Roots(self._settings)
        self._slots = context.slots
        self._binaries = Binaries(context.node_dir / "go", self._settings.go_cache_mb << 20)
        self._runsc: Runsc | None = None
        self._platform = ""
        self._tree = SharedTree(f"{context.node_id}.gvisor")
        self._hide = False
        """runsc is not to see what it would take for the host's own network."""
        self._debug = False
        """The last boot failed: the next one writes down everything it does."""

    async def probe(self) -> Capabilities:
        """See `Backend.probe`. Boots one sandbox on each platform until one works."""
        try:
            guest_folder()
            self._runsc = await find_runsc(self._settings.runsc)
            images, missing = self._roots.survey()
            self._platform = await self._find_platform(self._runsc, next(iter(images)))
        except SandboxError as error:
            fix = error.fix if isinstance(error, Unavailable) else None
            return Capabilities(self.isolation, available=False, reason=error.message, fix=fix)
        with self._tree.use() as tree:
            controllers, lacking = tree.controllers, tree.missing
        limits = {"disk_mb", "timeout_s", "max_output_bytes", "mem_mb"}
        limits |= {name for name, controller in (("cpus", "cpu"), ("pids", "pids")) if controller in controllers}
        facts = {"runsc": self._runsc.version, "platform": self._platform}
        facts |= {f"image {image.name}": image.version for image in images.values()}
        facts["cgroup"] = ", ".join(sorted(controllers)) or "none: " + next(iter(lacking.values()), "")
        return Capabilities(
            self.isolation,
            available=True,
            runtimes=frozenset(images) | ({Runtime.OCI} - missing.keys()),
            missing=missing,
            limits=frozenset(limits),
            networks=await self._networks(),
            acceleration=self._platform,
            facts=facts,
        )

    def pool_spec(self, spec: SandboxSpec) -> SandboxSpec:
        """See `Backend.pool_spec`. Limits are set when a sandbox is taken; only a greater disk needs one of its own."""
        return replace(spec, mem_mb=0, disk_mb=max(spec.disk_mb, DISK_MB), cpus=1.0)

    def warm(self) -> Mapping[SandboxSpec, int]:
        """See `Backend.warm`."""
        settings = self._settings
        wanted = {
            Runtime.PYTHON: settings.warm_python,
            Runtime.NODE: settings.warm_gvisor_node,
            Runtime.GO: settings.warm_go,
            Runtime.BASH: settings.warm_bash,
        }
        return {
            SandboxSpec(runtime, mem_mb=0, disk_mb=DISK_MB): count
            for runtime, count in wanted.items()
            if count and self._roots.has(runtime)
        }

    async def prepare(self, spec: SandboxSpec) -> AbstractContextManager[object]:
        """See `Backend.prepare`: fetches an image from its registry."""
        return await self._roots.provide(spec)

    def boot(self, spec: SandboxSpec) -> AbstractAsyncContextManager[Sandbox]:
        """See `Backend.boot`."""
        return self._boot(spec)

    async def reclaim(self) -> int:
        """See `Backend.reclaim`."""
        with self._tree.use() as tree:
            return await self._living.remove_others(tree)

    @asynccontextmanager
    async def _boot(self, spec: SandboxSpec) -> AsyncIterator[Sandbox]:
        if self._runsc is None or not self._platform:
            raise Unavailable("gVisor does not work on this host")
        async with self._boot_with(self._runsc, self._platform, spec, self._settings.start_timeout_s) as sandbox:
            yield sandbox

    @asynccontextmanager
    async def _boot_with(
        self, runsc: Runsc, platform: str, spec: SandboxSpec, timeout_s: float, *, harness: bool = True
    ) -> AsyncIterator[Sandbox]:
        async with AsyncExitStack() as stack:
            root = self._lease_root(spec, stack)
            slot = await self._take_slot(spec, stack)
            place = self._make_place(stack)
            debug, self._debug = self._debug, False
            call = runsc.command(
                platform,
                place.folder,
                network="none" if slot is None else "sandbox",
                debug=debug,
                hide=slot is not None and self._hide,
            )
            waiting = harness_command(spec.runtime, ready_first=True) if harness else ()
            world = World(
                root=root.path,
                guest=guest_folder(),
                argv=agent_command(waiting, root.settings),
                env={**ENVIRONMENT, **root.env},
                disk_mb=spec.disk_mb,
                netns=None if slot is None else slot.netns,
                resolv_conf=None if slot is None else slot.resolv_conf,
                mend_statx=runsc.needs_statx_mended,
            )
            try:
                sandbox = await stack.enter_async_context(boot(place, spec, world, call, timeout_s))
            except StartFailed:
                self._debug = True
                raise
            sandbox.furnish(root, self._binaries, slot)
            yield sandbox

    def _lease_root(self, spec: SandboxSpec, stack: AsyncExitStack) -> Root:
        try:
            require()
        except OSError as error:
            raise StartFailed("the sandbox did not start", detail=str(error)) from error
        # An image that could only not be read would pass for one that is not here.
        with spending():
            return self._roots.lease(spec, stack)

    async def _take_slot(self, spec: SandboxSpec, stack: AsyncExitStack) -> Slot | None:
        """The sandbox's network, if it is to have one."""
        if spec.network == "none":
            return None
        if self._slots is None:
            raise Unavailable("this host gives sandboxes no network")
        try:
            return await stack.enter_async_context(self._slots.take(spec.network))
        except NetworkError as error:
            raise StartFailed("the sandbox was given no network", detail=error.detail) from error

    def _make_place(self, stack: AsyncExitStack) -> Place:
        name = secrets.token_hex(8)
        sandboxes = self._folder / "sandboxes"
        try:
            sandboxes.mkdir(mode=0o711, parents=True, exist_ok=True)
            tree = stack.enter_context(self._tree.use())
            stack.enter_context(self._living.named(name))
            group = tree.group(name)
        except (CgroupError, OSError) as error:
            raise StartFailed("the sandbox did not start", detail=str(error)) from error
        return Place(name, sandboxes / name, group, self._folder / "failed")

    async def _networks(self) -> frozenset[str]:
        """Kinds of network sandboxes can have; entering a namespace of the host's making needs root."""
        if self._slots is None or os.geteuid() != 0 or await self._slots.lacks() is not None:
            return frozenset({"none"})
        self._hide = await mistakes_namespaces()
        return ALL_KINDS

    async def _find_platform(self, runsc: Runsc, runtime: Runtime) -> str:
        """The best platform on which a sandbox comes up in time."""
        wanted = self._settings.gvisor_platform
        failures = []
        for platform in runsc.platforms if wanted == "auto" else (wanted,):
            spec = SandboxSpec(runtime, mem_mb=0, disk_mb=DISK_MB)
            try:
                async with self._boot_with(runsc, platform, spec, _PROBE_S, harness=False):
                    return platform
            except StartFailed as error:
                logger.warning("gvisor platform does not work", platform=platform, error=error.detail)
                failures.append(f"{platform}: {error.detail.splitlines()[0]}")
        raise Unavailable("no sandbox comes up: " + "; ".join(failures), fix="see the server's log")
