"""Sizes of machines: what a workload asks for is rounded up to a class, so that few templates serve all."""

from __future__ import annotations

import math
from dataclasses import replace

from caisson.backends.microvm.vmm import Kernel
from caisson.model import StartKind
from caisson.sandbox.contract import SandboxSpec

MEMORY_CLASSES_MB = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144)
DISK_CLASSES_MB = (64, 512, 4096, 32_768, 262_144)
KERNEL_MB = 80
"""Memory for the guest's kernel and its agent, beyond what the program is given.

Where this is too little, the machine as a whole runs short before the program reaches its limit: the kernel then throws
away and reads again what it executes, for minutes, and kills nobody."""
DISTRIBUTION_KERNEL_MB = 144
"""The same for a distribution's kernel, which keeps 60 MiB for itself."""
_CPU_MB = 4
"""What each CPU but the first costs the kernel."""
_PAGES_SHARE = 32
"""Of so many bytes the kernel takes one to keep account of them; that is half of it, and half is to spare."""
HOST_OVERHEAD_BYTES = 128 << 20
"""What a VMM may use on the host beyond the guest's memory; less has been seen to end it."""


def size_class(spec: SandboxSpec) -> SandboxSpec:
    """The spec with its sizes rounded up. Any machine that waits serves who does not mind how it started."""
    return replace(
        spec,
        mem_mb=_round_up(spec.mem_mb, MEMORY_CLASSES_MB),
        disk_mb=_round_up(spec.disk_mb, DISK_CLASSES_MB),
        cpus=float(vcpus(spec)),
        start=None if spec.start is StartKind.WARM else spec.start,
    )


def ram_mb(spec: SandboxSpec, kernel: Kernel) -> int:
    """Memory of the whole machine for a spec of a class."""
    own = DISTRIBUTION_KERNEL_MB if kernel.needs_acpi else KERNEL_MB
    return spec.mem_mb + own + spec.mem_mb // _PAGES_SHARE + (vcpus(spec) - 1) * _CPU_MB


def vcpus(spec: SandboxSpec) -> int:
    """CPUs of the machine; of how much time they may take, the host keeps count."""
    return max(1, math.ceil(spec.cpus))


def _round_up(size: int, classes: tuple[int, ...]) -> int:
    return next((each for each in classes if each >= size), size)
