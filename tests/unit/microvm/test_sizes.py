"""Sizes are rounded up to classes, so that few templates serve all, and never down."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.backends.microvm.sizes import DISK_CLASSES_MB, MEMORY_CLASSES_MB, ram_mb, size_class
from caisson.backends.microvm.vmm import Kernel
from caisson.model import Resources, Runtime, StartKind
from caisson.sandbox.contract import SandboxSpec

OWN = Kernel(Path("vmlinux"), Path("initramfs"), "6.1", "digest", needs_acpi=False)
CLOUD = Kernel(Path("bzImage"), Path("initramfs"), "6.1", "digest", needs_acpi=True)
SPECS = st.builds(SandboxSpec, st.just(Runtime.PYTHON), mem_mb=st.integers(1, 300_000), disk_mb=st.integers(1, 300_000))


@given(SPECS)
def test_a_class_has_at_least_what_was_asked_for_and_is_its_own_class(spec: SandboxSpec) -> None:
    rounded = size_class(spec)
    assert rounded.mem_mb >= spec.mem_mb
    assert rounded.disk_mb >= spec.disk_mb
    assert size_class(rounded) == rounded
    assert (rounded.runtime, rounded.network) == (spec.runtime, spec.network)


@given(SPECS, SPECS)
def test_whoever_asks_for_more_never_gets_less(one: SandboxSpec, other: SandboxSpec) -> None:
    smaller, larger = sorted((one.mem_mb, other.mem_mb))
    given_less = size_class(SandboxSpec(Runtime.BASH, smaller, 64)).mem_mb
    assert given_less <= size_class(SandboxSpec(Runtime.BASH, larger, 64)).mem_mb


@pytest.mark.parametrize("classes", [MEMORY_CLASSES_MB, DISK_CLASSES_MB])
def test_classes_rise_and_each_is_met_exactly(classes: tuple[int, ...]) -> None:
    assert list(classes) == sorted(set(classes))
    for size in classes:
        rounded = size_class(SandboxSpec(Runtime.BASH, size, size))
        assert size in (rounded.mem_mb, rounded.disk_mb)


def test_what_is_larger_than_every_class_keeps_its_size() -> None:
    huge = SandboxSpec(Runtime.BASH, MEMORY_CLASSES_MB[-1] + 1, DISK_CLASSES_MB[-1] + 1)
    assert size_class(huge) == huge


def test_the_default_sizes_are_classes_so_that_machines_which_wait_serve_most() -> None:
    spec = SandboxSpec(Runtime.PYTHON, Resources().mem_mb, Resources().disk_mb)
    assert size_class(spec) == spec


def test_a_machine_that_waits_serves_who_asks_for_one_but_not_who_asks_for_a_boot() -> None:
    warm, cold = (SandboxSpec(Runtime.PYTHON, 64, 64, start=start) for start in (StartKind.WARM, StartKind.COLD))
    assert size_class(warm) == size_class(SandboxSpec(Runtime.PYTHON, 64, 64))
    assert size_class(cold).start is StartKind.COLD


@given(SPECS)
def test_a_machine_has_the_program_s_memory_and_its_kernel_s_beside_it(spec: SandboxSpec) -> None:
    rounded = size_class(spec)
    assert ram_mb(rounded, OWN) >= rounded.mem_mb + 64
    assert ram_mb(rounded, CLOUD) > ram_mb(rounded, OWN), "a distribution's kernel keeps more for itself"
