"""QEMU's microvm machine, on KVM or emulated, as a VMM of the contract in `vmm.py`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from caisson.backends.microvm.memory import own_copy
from caisson.backends.microvm.qemu_command import (
    Descriptors,
    Engine,
    jailed,
    kernel_command_line,
    machine_type,
    qemu_arguments,
)
from caisson.backends.microvm.qemu_machine import QemuMachine
from caisson.backends.microvm.vmm import Acceleration, Home, Machine, MachineConfig, Nic, Snapshot, VmmError
from caisson.errors import CaissonError, Unavailable
from caisson.host.jailed import Jailed, JailNotBuilt
from caisson.host.network.namespace import attach_tap, inside
from caisson.host.pipes import Tail
from caisson.host.process import CommandFailed, run, start
from caisson.host.shield import Teardown, acquired, uninterrupted

BINARY = "qemu-system-x86_64"
FIX = "apt-get install qemu-system-x86"


class QemuVmm:
    """A `Vmm`."""

    name = "qemu"
    has_increments = True

    def __init__(self, engine: Engine, version: str) -> None:
        self.version = version
        self.acceleration = engine.acceleration
        self._engine = engine

    def identity(self, config: MachineConfig) -> Mapping[str, str]:
        """See `Vmm.identity`."""
        return {
            "vmm": self.name,
            "version": self.version,
            "acceleration": self.acceleration,
            "machine": machine_type(config),
            # How fast the counter runs is measured anew each time, and never quite the same.
            "parameters": kernel_command_line(
                MachineConfig(1, 1, config.kernel, ()), replace(self._engine, tsc_khz=self._engine.tsc_khz and 1)
            ),
            "cpu": self._engine.cpu,
            "host_cpu": host_cpu(),
        }

    def boot(self, config: MachineConfig, home: Home, *, to_save: bool = False) -> AbstractAsyncContextManager[Machine]:
        """See `Vmm.boot`."""
        return self._boot(config, home, to_save)

    def load(
        self, config: MachineConfig, snapshot: Snapshot, home: Home, *, to_save: bool = False
    ) -> AbstractAsyncContextManager[Machine]:
        """See `Vmm.load`."""
        return self._load(config, snapshot, home, to_save)

    @asynccontextmanager
    async def _boot(self, config: MachineConfig, home: Home, to_save: bool) -> AsyncIterator[Machine]:
        teardown = Teardown()
        try:
            memory = _memory(config.ram_mb) if to_save else None
            if memory is not None:
                teardown.push(lambda: os.close(memory))
            machine = await self._launch(config, home, memory, teardown, shared=to_save)
            await machine.resume()
            yield machine
        finally:
            await teardown.close()

    @asynccontextmanager
    async def _load(
        self, config: MachineConfig, snapshot: Snapshot, home: Home, to_save: bool
    ) -> AsyncIterator[Machine]:
        teardown = Teardown()
        try:
            memory = snapshot.memory_fd
            if to_save:
                memory = await acquired(asyncio.to_thread(own_copy, memory), os.close)
                teardown.push(lambda: os.close(memory))
            machine = await self._launch(config, home, memory, teardown, shared=to_save, incoming=True)
            await machine.restore(snapshot)
            yield machine
        finally:
            await teardown.close()

    async def _launch(
        self,
        config: MachineConfig,
        home: Home,
        memory: int | None,
        teardown: Teardown,
        *,
        shared: bool = False,
        incoming: bool = False,
    ) -> QemuMachine:
        """QEMU up and stopped before the first instruction, in its jail and its control groups."""
        opened: list[int] = []
        try:
            qmp, agent = _socket(opened), _socket(opened)
            teardown.push(agent.close)
            teardown.push(qmp.close)
            info_fd, stderr_fd = _pipe(opened, teardown), _pipe(opened, teardown)
            qmp_fd, agent_fd, info_write, stderr_write = opened
            fds = Descriptors(
                kernel=_open(config.kernel.path, os.O_RDONLY, opened),
                initramfs=_open(config.kernel.initramfs, os.O_RDONLY, opened),
                drives=tuple(
                    _open(drive.path, os.O_RDONLY if drive.read_only else os.O_RDWR, opened) for drive in config.drives
                ),
                qmp=qmp_fd,
                agent=agent_fd,
                memory=memory,
                tap=None if config.nic is None else await _tap(config.nic, opened),
            )
            command = qemu_arguments(config, self._engine, fds, shared=shared, incoming=incoming)
            kvm = self.acceleration is Acceleration.KVM
            chain = jailed(command, uid=home.uid, gid=_kvm_group() if kvm else None, kvm=kvm, info_fd=info_write)
            outer = start(chain, stderr=stderr_write, pass_fds=(*fds.all(), info_write), own_group=True)
        except (OSError, CommandFailed) as error:
            raise VmmError(f"QEMU could not be started: {error}") from error
        finally:
            for fd in opened:
                os.close(fd)
        words = Tail(os.dup(stderr_fd))
        teardown.push(words.close)
        process = Jailed(outer, os.dup(info_fd))
        machine = QemuMachine(process, qmp, agent, words, memory if shared else None)
        teardown.push(machine.close)
        failure: BaseException | None = None
        try:
            inner = await process.inner()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(uninterrupted(asyncio.to_thread(home.group.attach, inner.pid)))
                tasks.create_task(machine.open())
        except* (JailNotBuilt, VmmError, CaissonError) as group:
            failure = group.exceptions[0]
        if failure is not None:
            await machine.kill()
            raise VmmError(f"QEMU did not come up: {words.text or failure}") from failure
        return machine


def find_qemu() -> str:
    """The path of QEMU. Raises Unavailable."""
    path = shutil.which(BINARY)
    if path is None:
        raise Unavailable(f"{BINARY} is not installed", fix=FIX)
    return path


async def qemu_version(binary: str) -> str:
    """The version, such as `7.2.22`. Raises Unavailable if it does not run."""
    try:
        done = await run([binary, "--version"])
        return done.stdout.decode().split()[3]
    except (CommandFailed, IndexError) as error:
        raise Unavailable(f"{BINARY} does not run: {error}", fix=FIX) from error


def host_cpu() -> str:
    """A mark of the host's CPU, as far as a guest can come to depend on it."""
    wanted = ("vendor_id", "cpu family", "model", "stepping", "microcode", "flags")
    lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    members = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return hashlib.sha256("\n".join(members.get(name, "?") for name in wanted).encode()).hexdigest()[:16]


def _kvm_group() -> int | None:
    """The group that may use /dev/kvm, where not everybody may."""
    status = Path("/dev/kvm").stat()
    return status.st_gid if status.st_mode & stat.S_IRGRP and not status.st_mode & stat.S_IROTH else None


def _memory(ram_mb: int) -> int:
    """Memory for a guest that will be saved."""
    fd = os.memfd_create("caisson-ram", os.MFD_CLOEXEC)
    os.ftruncate(fd, ram_mb << 20)
    return fd


def _socket(opened: list[int]) -> socket.socket:
    """Our end of a pair; the other is put into `opened`."""
    ours, theirs = socket.socketpair()
    opened.append(theirs.detach())
    return ours


def _pipe(opened: list[int], teardown: Teardown) -> int:
    """Our reading end of a pipe; the other is put into `opened`."""
    read_fd, write_fd = os.pipe()
    opened.append(write_fd)
    teardown.push(lambda: os.close(read_fd))
    return read_fd


def _open(path: Path, flags: int, opened: list[int]) -> int:
    fd = os.open(path, flags | os.O_CLOEXEC)
    opened.append(fd)
    return fd


async def _tap(nic: Nic, opened: list[int]) -> int:
    def attach() -> int:
        opened.append(attach_tap(nic.tap))
        return opened[-1]

    return await inside(nic.netns, attach)
