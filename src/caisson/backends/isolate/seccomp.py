"""The seccomp filter of a jail, as the BPF program that `bwrap --seccomp` loads.

An allow-list: memory, threads, time, files and pipes. Everything else, known or yet to be invented, does not exist
(ENOSYS), which lets C libraries fall back to what does. No process can be made, only threads; no namespace entered; no
socket opened but a pair of connected ones.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterable, Sequence

from caisson.backends.isolate.syscalls import ALLOWED, GUARDED

# linux/audit.h, linux/seccomp.h, linux/bpf_common.h
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_X32_BIT = 0x40000000
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_GREATER_OR_EQUAL, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGS = 0, 4, 16

_CLONE_THREAD = 0x00010000
_CLONE_NAMESPACES = 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x00020000
_AF_UNIX = 1
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""

Instruction = tuple[int, int, int, int]


def supported(machine: str = platform.machine()) -> bool:
    """True if there is a filter for this kind of processor."""
    return machine in _MACHINES


def program(machine: str = platform.machine()) -> bytes:
    """The filter as an array of `struct sock_filter`. Raises KeyError on a machine that is not `supported`."""
    arch, column = _MACHINES[machine]
    code: list[Instruction] = [
        _load(_OFFSET_ARCH),
        (_JUMP_IF_EQUAL, 1, 0, arch),
        _returns(_KILL),
        _load(_OFFSET_NUMBER),
    ]
    if machine == "x86_64":
        # The x32 ABI shares the arch value, and would reach every call under another number.
        code += [(_JUMP_IF_GREATER_OR_EQUAL, 0, 1, _X32_BIT), _returns(_KILL)]
    for numbers in ALLOWED.values():
        if (number := numbers[column]) is not None:
            code += [(_JUMP_IF_EQUAL, 0, 1, number), _returns(_ALLOW)]
    for name, guard in _guards().items():
        if (number := GUARDED[name][column]) is not None:
            code += [(_JUMP_IF_EQUAL, 0, len(guard), number), *guard]
    code.append(_returns(_ERRNO | errno.ENOSYS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _guards() -> dict[str, Sequence[Instruction]]:
    return {
        "clone": [
            _load(_OFFSET_ARGS),
            (_AND, 0, 0, _CLONE_THREAD | _CLONE_NAMESPACES),
            (_JUMP_IF_EQUAL, 0, 1, _CLONE_THREAD),
            _returns(_ALLOW),
            _returns(_ERRNO | errno.EPERM),
        ],
        "socketpair": _argument_is_one_of(0, [_AF_UNIX], errno.EPERM),
        "ioctl": _argument_is_one_of(1, _IOCTLS, errno.ENOTTY),
    }


def _argument_is_one_of(index: int, values: Iterable[int], otherwise: int) -> list[Instruction]:
    code = [_load(_OFFSET_ARGS + 8 * index)]
    for value in values:
        code += [(_JUMP_IF_EQUAL, 0, 1, value), _returns(_ALLOW)]
    return [*code, _returns(_ERRNO | otherwise)]


def _load(offset: int) -> Instruction:
    # The low half of an argument is enough for values the kernel takes as int; both machines are little-endian.
    return (_LOAD, 0, 0, offset)


def _returns(action: int) -> Instruction:
    return (_RETURN, 0, 0, action)
