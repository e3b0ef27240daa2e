"""A bare QEMU that boots the same kernel up to the same agent: no jail, no control groups, no template, no HTTP."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from caisson.backends.microvm.kernel import find_kernel, prepare_kernel
from caisson.backends.microvm.qemu import find_qemu
from caisson.backends.microvm.qemu_command import Descriptors, Engine, qemu_arguments
from caisson.backends.microvm.sizes import ram_mb
from caisson.backends.microvm.tsc import tsc_khz
from caisson.backends.microvm.vmm import Acceleration, Kernel, MachineConfig
from caisson.bench.load import LoadError, Sample
from caisson.errors import Unavailable
from caisson.images.catalog import Catalog
from caisson.sandbox.channel import Channel, ChannelClosed
from caisson.sandbox.contract import SandboxSpec
from caisson.sandbox.guest import guest_folder
from caisson.sandbox.launch import INSIDE
from caisson.sandbox.protocol import NONCE_BYTES, ProtocolError

BOOT_S = 60.0
_HELD = "-S"
"""QEMU's option to wait for a word before the first instruction."""


@dataclass(frozen=True, slots=True)
class _Bare:
    engine: Engine
    kernel: Kernel
    ram_mb: int


async def bare_boots(images: Path, folder: Path, acceleration: Acceleration, size: SandboxSpec, count: int) -> Sample:
    """From the start of the process to the agent's greeting, `count` times. Raises Unavailable or LoadError."""
    rate = await asyncio.to_thread(tsc_khz) if acceleration is Acceleration.EMULATED else None
    engine = Engine(find_qemu(), acceleration, rate)
    try:
        kernel = await asyncio.to_thread(prepare_kernel, find_kernel(Catalog(images)), guest_folder(), folder)
    except OSError as error:
        raise Unavailable(f"the guest kernel cannot be read: {error}") from error
    sample = Sample()
    began_at = perf_counter()
    for _ in range(count):
        sample.latencies_ms.append(await _once(_Bare(engine, kernel, ram_mb(size, kernel))))
    sample.elapsed_s = perf_counter() - began_at
    return sample


async def _once(bare: _Bare) -> float:
    nonce = secrets.token_bytes(NONCE_BYTES)
    agent = ("--nonce", nonce.hex(), "--work", INSIDE)
    config = MachineConfig(vcpus=1, ram_mb=bare.ram_mb, kernel=bare.kernel, drives=(), agent=agent)
    with ExitStack() as stack:
        ours, theirs = socket.socketpair()
        control, controlled = socket.socketpair()
        for end in (theirs, control, controlled):
            stack.callback(end.close)
        fds = Descriptors(
            kernel=_open(bare.kernel.path, stack),
            initramfs=_open(bare.kernel.initramfs, stack),
            drives=(),
            qmp=controlled.fileno(),
            agent=theirs.fileno(),
        )
        command = [word for word in qemu_arguments(config, bare.engine, fds) if word != _HELD]
        fd = ours.detach()
        channel = Channel(fd, fd)
        stack.callback(channel.close)
        began_at = perf_counter()
        process = await asyncio.create_subprocess_exec(*command, pass_fds=fds.all(), stderr=asyncio.subprocess.DEVNULL)
        try:
            await channel.handshake(nonce, BOOT_S)
            return (perf_counter() - began_at) * 1000
        except (TimeoutError, ChannelClosed, ProtocolError) as error:
            raise LoadError(f"bare QEMU did not boot: {type(error).__name__} {error}") from error
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _open(path: Path, stack: ExitStack) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd
