"""How fast the host's time stamp counter runs: an emulated guest sees that counter and cannot measure it well."""

from __future__ import annotations

import ctypes
import mmap
import platform
import time
from pathlib import Path

_CODE = bytes.fromhex("0f31 48c1e220 4809d0 c3")
"""rdtsc; shl rdx, 32; or rax, rdx; ret"""
_MEASURE_S = 0.05
_ROUNDS = 3
_STEADY = {"constant_tsc", "nonstop_tsc"}


def tsc_khz() -> int | None:
    """The rate in kHz, to a few millionths; None where it is not constant or may not be read. Takes 0.15 s."""
    if platform.machine() != "x86_64" or not is_steady(Path("/proc/cpuinfo").read_text()):
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None  # a hardened host allows no such memory
    page.write(_CODE)
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    rates = sorted(_measure(read) for _ in range(_ROUNDS))
    return round(rates[_ROUNDS // 2])


def _measure(read: ctypes._CFunctionType) -> float:
    first, first_ns = _both(read)
    time.sleep(_MEASURE_S)
    last, last_ns = _both(read)
    return (last - first) * 1_000_000 / (last_ns - first_ns)


def _both(read: ctypes._CFunctionType) -> tuple[int, int]:
    """Counter and clock at the same moment: of some tries, the one that was interrupted least."""
    best: tuple[int, int, int] | None = None
    for _ in range(20):
        before = time.monotonic_ns()
        counter = int(read())
        after = time.monotonic_ns()
        if best is None or after - before < best[0]:
            best = (after - before, counter, (before + after) // 2)
    assert best is not None  # noqa: S101 - the loop ran
    return best[1], best[2]


def is_steady(cpuinfo: str) -> bool:
    """Whether the counter, after what /proc/cpuinfo says of the first CPU, never changes its rate and never stops."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return _STEADY.issubset(value.split())
    return False
