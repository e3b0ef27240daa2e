"""The microvm backend: a kernel of its own for every workload, under a VMM of the contract in `vmm.py`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import replace

import structlog

from caisson.backends.binaries import Binaries
from caisson.backends.microvm.boot import Booter, Kind
from caisson.backends.microvm.choice import Choice, choose
from caisson.backends.microvm.kernel import find_kernel, own_kernel, prepare_kernel
from caisson.backends.microvm.memory import may_write_memory
from caisson.backends.microvm.parents import Parents
from caisson.backends.microvm.patience import Patience
from caisson.backends.microvm.place import Places
from caisson.backends.microvm.sizes import size_class
from caisson.backends.microvm.snapshot import Key, Templates
from caisson.backends.microvm.vmm import Kernel
from caisson.errors import SandboxError, Unavailable
from caisson.host.network.slots import ALL_KINDS
from caisson.images.catalog import Catalog, Image
from caisson.images.errors import ImageMissing
from caisson.images.languages import IMAGES, survey
from caisson.model import Isolation, Resources, Runtime
from caisson.sandbox.contract import BackendContext, Capabilities, Sandbox, SandboxSpec
from caisson.sandbox.guest import guest_folder
from caisson.sandbox.runtimes.launching import harness_command
from caisson.settings import Settings

logger = structlog.get_logger(__name__)

UID_OFFSET = 20_000
"""From the first user id of jails: those before are other backends'."""


class MicrovmBackend:
    """A `Backend` of the contract."""

    name = "microvm"
    isolation = Isolation.MICROVM

    def __init__(self, context: BackendContext) -> None:
        if not isinstance(context.settings, Settings):
            raise TypeError("the microvm backend needs caisson's own settings")
        self._settings = context.settings
        self._folder = context.node_dir / "microvm"
        self._catalog = Catalog(self._settings.images_folder)
        uid_base = self._settings.jail_uid_base + UID_OFFSET
        self._places = Places(context.node_id, self._folder / "sandboxes", uid_base)
        templates = self._settings.templates_dir or self._folder / "templates"
        self._templates = Templates(templates.absolute()) if self._settings.microvm_snapshots else None
        self._slots = context.slots
        # Not gVisor's: what runs in a machine is compiled in a machine.
        self._binaries = Binaries(self._folder / "go", self._settings.go_cache_mb << 20)
        self._parents = Parents() if may_write_memory() else None
        self._booter: Booter | None = None
        self._must_collect = False

    async def probe(self) -> Capabilities:
        """See `Backend.probe`. Boots a machine to know."""
        try:
            images, missing = survey(self._catalog)
            kernel = await self._prepare_kernel()
            choice = await choose(
                kernel,
                self._places,
                self._folder / "kvm.json",
                self._settings,
            )
            disks = self._folder / "disks"
            patience = Patience.of(choice.vmm.acceleration, self._settings.start_timeout_s)
            self._booter = Booter(
                choice.vmm,
                kernel,
                self._places,
                self._templates,
                disks,
                self._binaries,
                patience,
                self._slots,
                self._parents,
            )
        except SandboxError as error:
            fix = error.fix if isinstance(error, Unavailable) else None
            return Capabilities(self.isolation, available=False, reason=error.message, fix=fix)
        self._must_collect = True
        return replace(self._capabilities(choice, kernel, images, missing), networks=await self._networks())

    def pool_spec(self, spec: SandboxSpec) -> SandboxSpec:
        """See `Backend.pool_spec`. Sizes are rounded up to classes."""
        return size_class(spec)

    def warm(self) -> Mapping[SandboxSpec, int]:
        """See `Backend.warm`: stopped machines of the default size, for languages that have something to wait."""
        default = Resources()
        wanted = {Runtime.PYTHON: self._settings.warm_microvm_python, Runtime.NODE: self._settings.warm_microvm_node}
        return {
            size_class(SandboxSpec(runtime, default.mem_mb, default.disk_mb)): count
            for runtime, count in wanted.items()
            if count and self._catalog.find(IMAGES[runtime])
        }

    async def prepare(self, spec: SandboxSpec) -> None:
        """See `Backend.prepare`. Makes the template, which takes as long as a boot."""
        async with self._kind(self.pool_spec(spec)) as (booter, kind):
            template_s = booter.patience.template_s
            try:
                async with asyncio.timeout(template_s):
                    await booter.prepare(kind)
            except TimeoutError as error:
                raise Unavailable(f"no template of {spec.runtime} came up within {template_s:g} s") from error
            if self._must_collect:
                # Not in `probe`, which `caisson doctor` does too: who uses no template is not to remove any.
                self._must_collect = False
                await self._collect(booter)

    def boot(self, spec: SandboxSpec) -> AbstractAsyncContextManager[Sandbox]:
        """See `Backend.boot`."""
        return self._boot(spec)

    async def reclaim(self) -> int:
        """See `Backend.reclaim`."""
        return await self._places.reclaim()

    async def close(self) -> None:
        """See `Closing.close`."""
        if self._parents is not None:
            await self._parents.close()

    @asynccontextmanager
    async def _boot(self, spec: SandboxSpec) -> AsyncIterator[Sandbox]:
        async with self._kind(spec) as (booter, kind), booter.boot(kind) as sandbox:
            yield sandbox

    @asynccontextmanager
    async def _kind(self, spec: SandboxSpec) -> AsyncIterator[tuple[Booter, Kind]]:
        """What boots such a machine; while inside, its image stays. Raises Unavailable."""
        if self._booter is None:
            raise Unavailable("micro-VMs do not work on this host")
        image = self._catalog.find(IMAGES[spec.runtime])
        if image is None:
            raise _no_image(IMAGES[spec.runtime])
        with ExitStack() as stack:
            try:
                stack.enter_context(self._catalog.lease(image))
            except ImageMissing as error:
                raise _no_image(image.name) from error
            yield self._booter, Kind(spec, image, _harness(spec.runtime))

    async def _prepare_kernel(self) -> Kernel:
        if self._settings.microvm_kernel is not None:
            own = self._settings.microvm_kernel
            try:
                return await asyncio.to_thread(own_kernel, own, guest_folder(), self._folder / "kernel")
            except OSError as error:
                raise Unavailable(
                    f"CAISSON_MICROVM_KERNEL: {error}", fix="set it to a kernel, or not at all"
                ) from error
        image = find_kernel(self._catalog)
        try:
            return await asyncio.to_thread(prepare_kernel, image, guest_folder(), self._folder / "kernel")
        except (OSError, ImageMissing) as error:
            raise Unavailable(
                f"the guest kernel cannot be read: {error}", fix=f"caisson images build {image.name}"
            ) from error

    def _capabilities(
        self, choice: Choice, kernel: Kernel, images: Mapping[Runtime, Image], missing: Mapping[Runtime, str]
    ) -> Capabilities:
        controllers = self._places.controllers()
        limits = {"mem_mb", "disk_mb", "timeout_s", "max_output_bytes", "pids"}
        limits |= {"cpus"} if "cpu" in controllers else set()
        facts = {"vmm": f"{choice.vmm.name} {choice.vmm.version}", "why": choice.why, "kernel": kernel.release}
        facts |= {f"image {image.name}": image.version for image in images.values()}
        facts["templates"] = "off" if self._templates is None else str(self._templates.folder)
        facts["cgroup"] = ", ".join(sorted(controllers)) or "none"
        return Capabilities(
            self.isolation,
            available=True,
            runtimes=frozenset(images),
            missing=missing,
            limits=frozenset(limits),
            acceleration=choice.vmm.acceleration,
            facts=facts,
        )

    async def _networks(self) -> frozenset[str]:
        """Kinds of network machines can have; a device in a namespace of the host's making needs root."""
        if self._slots is None or os.geteuid() != 0 or await self._slots.lacks() is not None:
            return frozenset({"none"})
        return ALL_KINDS

    async def _collect(self, booter: Booter) -> None:
        """Remove templates that nobody used for long, those of other images and kernels sooner."""
        if self._templates is None:
            return
        digests = {image.digest for image in self._catalog.images()}
        kernel = booter.kernel.digest

        def current(key: Key) -> bool:
            return key.get("image") in digests and key.get("kernel") == kernel

        removed = await asyncio.to_thread(self._templates.collect, current, time.time())
        if removed:
            logger.info("old templates removed", count=removed)


def _no_image(name: str) -> Unavailable:
    return Unavailable(f"there is no guest image `{name}` on this host", fix=f"caisson images build {name}")


def _harness(runtime: Runtime) -> tuple[str, ...]:
    """What waits in a machine. Copies of a Python would share the seed of its hashes; only a new one has a new seed."""
    command = harness_command(runtime)
    return (*command, "--restart-on-renew") if runtime is Runtime.PYTHON else command
