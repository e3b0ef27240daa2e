"""Firecracker on KVM, as a VMM of the contract in `microvm/vmm.py`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from caisson.backends.leftovers import remove_folder
from caisson.backends.microvm.firecracker.api import Api, connected
from caisson.backends.microvm.firecracker.jailer import API_SOCKET, LOG, METRICS, Programs, command_line, root_folder
from caisson.backends.microvm.firecracker.machine import (
    CONSOLE_BYTES,
    LOG_BYTES,
    METRICS_BYTES,
    FirecrackerMachine,
    Words,
)
from caisson.backends.microvm.firecracker.plan import (
    CONSOLE,
    INITRAMFS,
    KERNEL,
    MEMORY,
    STATE,
    Rates,
    configuration,
    console,
    drive_name,
    loading,
)
from caisson.backends.microvm.firecracker.root import Bind, Root
from caisson.backends.microvm.qemu import host_cpu
from caisson.backends.microvm.vmm import Acceleration, Home, Machine, MachineConfig, Snapshot, VmmError
from caisson.errors import CaissonError
from caisson.host.jailed import Jailed, JailNotBuilt
from caisson.host.pipes import Tail, make_pipes
from caisson.host.process import CommandFailed, start
from caisson.host.shield import Teardown, uninterrupted


class FirecrackerVmm:
    """A `Vmm`. Found by `find.find_firecracker`."""

    name = "firecracker"
    acceleration = Acceleration.KVM
    has_increments = False

    def __init__(self, programs: Programs, version: str, rates: Rates = Rates()) -> None:  # noqa: B008 - frozen
        self.version = version
        self._programs = programs
        self._rates = rates

    def identity(self, config: MachineConfig) -> Mapping[str, str]:
        """See `Vmm.identity`."""
        return {
            "vmm": self.name,
            "version": self.version,
            "host_kernel": os.uname().release,
            "host_cpu": host_cpu(),
            # Limits are part of a saved device.
            "rates": f"{self._rates.disk_bytes_s} {self._rates.network_bytes_s}",
        }

    def boot(self, config: MachineConfig, home: Home, *, to_save: bool = False) -> AbstractAsyncContextManager[Machine]:
        """See `Vmm.boot`."""
        return self._boot(config, home, to_save)

    def load(
        self, config: MachineConfig, snapshot: Snapshot, home: Home, *, to_save: bool = False
    ) -> AbstractAsyncContextManager[Machine]:
        """See `Vmm.load`."""
        if to_save or snapshot.increment is not None:
            raise NotImplementedError("Firecracker is not asked for increments")
        return self._load(config, snapshot, home)

    @asynccontextmanager
    async def _boot(self, config: MachineConfig, home: Home, to_save: bool) -> AsyncIterator[Machine]:
        async with AsyncExitStack() as stack:
            machine, api = await self._launch(config, home, None, stack, to_save=to_save)
            for path, body in configuration(config, self._rates):
                await api.put(path, body)
            await api.start()
            yield machine

    @asynccontextmanager
    async def _load(self, config: MachineConfig, snapshot: Snapshot, home: Home) -> AsyncIterator[Machine]:
        async with AsyncExitStack() as stack:
            machine, api = await self._launch(config, home, snapshot, stack)
            # The one thing that is not part of a snapshot.
            await api.put(*console())
            await api.load(loading(config))
            yield machine

    async def _launch(
        self,
        config: MachineConfig,
        home: Home,
        snapshot: Snapshot | None,
        stack: AsyncExitStack,
        *,
        to_save: bool = False,
    ) -> tuple[FirecrackerMachine, Api]:
        """Firecracker up and not yet configured, in its jail and its control groups."""
        teardown = Teardown()
        stack.push_async_callback(teardown.close)
        programs = self._programs
        uid = home.uid if programs.jailer is not None else None
        if programs.jailer is not None and uid is None:
            raise VmmError("the jailer needs a user id for the machine")
        try:
            folder = root_folder(programs, home.folder, home.id)
            # The jailer leaves everything behind; and the home may be used for another try.
            teardown.push(
                lambda: asyncio.to_thread(remove_folder, home.folder / folder.relative_to(home.folder).parts[0])
            )
            root = Root(folder, uid)
            teardown.push(root.close)
            binds = _furnish(root, config, snapshot)
            log, metrics, serial = (
                _tail(root.fifo(name), keep_bytes, teardown)
                for name, keep_bytes in ((LOG, LOG_BYTES), (METRICS, METRICS_BYTES), (CONSOLE, CONSOLE_BYTES))
            )
            (info_fd, info_write), (output_fd, output_write) = make_pipes(2)
            try:
                words = Words(_tail(output_fd, LOG_BYTES, teardown), log, metrics, serial)
                netns = None if config.nic is None else config.nic.netns
                chain = command_line(
                    programs, id=home.id, home=home.folder, uid=uid, netns=netns, binds=binds, info_fd=info_write
                )
                outer = start(chain, stdout=output_write, stderr=output_write, pass_fds=(info_write,), own_group=True)
            except BaseException:
                os.close(info_fd)
                raise
            finally:
                os.close(info_write)
                os.close(output_write)
        except (OSError, CommandFailed) as error:
            raise VmmError(f"Firecracker could not be started: {error}") from error
        process = Jailed(outer, info_fd)
        teardown.push(process.close)
        try:
            inner = await process.inner()
            api = await stack.enter_async_context(connected(lambda: root.connect(API_SOCKET), lambda: process.ended))
            # Before there is a guest, but while nothing waits for it: the kernel may take its time.
            await uninterrupted(asyncio.to_thread(home.group.attach, inner.pid))
        except (JailNotBuilt, VmmError, CaissonError, OSError) as error:
            await process.kill()
            raise VmmError(f"Firecracker did not come up: {words.last or error}") from error
        running = snapshot is None
        machine = FirecrackerMachine(process, api, root, words, ram_mb=config.ram_mb, to_save=to_save, running=running)
        stack.push_async_callback(machine.account, home.id)
        return machine, api


def _furnish(root: Root, config: MachineConfig, snapshot: Snapshot | None) -> list[Bind]:
    """Put what the machine needs into its jail; what must be mounted there."""
    binds = [
        root.place(drive.path, drive_name(number), writable=not drive.read_only)
        for number, drive in enumerate(config.drives)
    ]
    if snapshot is None:
        binds += [root.place(config.kernel.path, KERNEL), root.place(config.kernel.initramfs, INITRAMFS)]
    else:
        binds += [root.place(snapshot.memory, MEMORY), root.place(snapshot.state, STATE)]
    return [bind for bind in binds if bind is not None]


def _tail(fd: int, keep_bytes: int, teardown: Teardown) -> Tail:
    tail = Tail(fd, keep_bytes)
    teardown.push(tail.close)
    return tail
