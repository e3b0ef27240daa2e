"""The system-call filter, executed by a small BPF machine."""

from __future__ import annotations

import errno
import struct

import pytest

from caisson.backends.isolate.seccomp import program

ALLOW, KILL = 0x7FFF0000, 0x80000000
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = {"x86_64": {"read": 0, "mmap": 9, "socket": 41, "clone": 56, "fork": 57, "ptrace": 101, "ioctl": 16,
                      "socketpair": 53, "clone3": 435, "io_uring_setup": 425, "bpf": 321, "unshare": 272},
           "aarch64": {"read": 63, "mmap": 222, "socket": 198, "clone": 220, "ptrace": 117, "ioctl": 29,
                       "socketpair": 199, "clone3": 435, "io_uring_setup": 425, "bpf": 280, "unshare": 97}}  # fmt: skip


def verdict(machine: str, number: int, *args: int, arch: int | None = None) -> int:
    """What the filter returns for a call."""
    code = [instruction for instruction in struct.iter_unpack("=HBBI", program(machine))]
    data = struct.pack("=iIQ6Q", number, ARCH[machine] if arch is None else arch, 0, *args, *[0] * (6 - len(args)))
    position = accumulator = 0
    while True:
        operation, if_true, if_false, value = code[position]
        position += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x15:
            position += if_true if accumulator == value else if_false
        elif operation == 0x35:
            position += if_true if accumulator >= value else if_false
        else:
            return int(value)


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    """Both kinds of processor."""
    return str(request.param)


def error(number: int) -> int:
    """The verdict that makes a call fail."""
    return 0x00050000 | number


def test_ordinary_calls_pass(machine: str) -> None:
    """Reading and mapping."""
    for name in ("read", "mmap"):
        assert verdict(machine, NUMBERS[machine][name]) == ALLOW


def test_everything_else_does_not_exist(machine: str) -> None:
    """Known dangers and numbers not given out yet alike."""
    for name in ("socket", "ptrace", "clone3", "io_uring_setup", "bpf", "unshare"):
        assert verdict(machine, NUMBERS[machine][name]) == error(errno.ENOSYS)
    assert verdict(machine, 9_999) == error(errno.ENOSYS)


def test_threads_but_no_processes_and_no_namespaces(machine: str) -> None:
    """`clone` passes for a thread alone."""
    clone = NUMBERS[machine]["clone"]
    assert verdict(machine, clone, 0x3D0F00) == ALLOW
    assert verdict(machine, clone, 0x01200011) == error(errno.EPERM)
    assert verdict(machine, clone, 0x3D0F00 | 0x10000000) == error(errno.EPERM)


def test_only_pairs_of_unix_sockets(machine: str) -> None:
    """A pair reaches nobody else; of other families there may be holes."""
    pair = NUMBERS[machine]["socketpair"]
    assert verdict(machine, pair, 1) == ALLOW
    assert verdict(machine, pair, 16) == error(errno.EPERM)


def test_no_terminal_tricks(machine: str) -> None:
    """Of ioctl only harmless requests pass: TIOCSTI puts words into other people's terminals."""
    ioctl = NUMBERS[machine]["ioctl"]
    assert verdict(machine, ioctl, 0, 0x5421) == ALLOW
    assert verdict(machine, ioctl, 0, 0x5412) == error(errno.ENOTTY)


def test_other_system_call_tables_are_deadly(machine: str) -> None:
    """32-bit calls, and x32 on x86-64, would mean other things by the same numbers."""
    assert verdict(machine, 0, arch=0x40000003) == KILL
    if machine == "x86_64":
        assert verdict(machine, 0x40000000) == KILL
