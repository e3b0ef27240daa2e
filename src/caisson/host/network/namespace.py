"""Work done inside another network namespace, and the sockets and devices that are made there."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from caisson.host.shield import uninterrupted

T = TypeVar("T")

FOLDER = Path("/run/netns")
"""Where ip-netns(8) keeps namespaces by name."""

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETOWNER = 0x400454CC
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_libc = ctypes.CDLL(None, use_errno=True)


async def inside(namespace: Path, work: Callable[[], T]) -> T:
    """Call `work` in a thread of its own that has entered the namespace; raises OSError if it cannot be entered.

    Sockets made there belong to the namespace for good, whoever uses them. Its work is over when this is, also if the
    caller was cancelled, who then does not get what it returned: let it put what must be closed where that is seen to.
    """

    def enter_and_work() -> T:
        with namespace.open("rb") as file:
            if _libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(namespace))
        return work()

    async def in_a_thread() -> T:
        # Never a shared thread: it would stay in the namespace and keep it alive.
        with ThreadPoolExecutor(1, thread_name_prefix="netns") as executor:
            return await asyncio.get_running_loop().run_in_executor(executor, enter_and_work)

    return await uninterrupted(in_a_thread())


def set_kernel(name: str, value: int) -> None:
    """Set a kernel parameter of the calling thread's network namespace, such as `net.ipv4.ip_forward`."""
    path = Path("/proc/sys", *name.split("."))
    if path.exists():
        path.write_text(str(value))


def listening_sockets(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket bound in the calling thread's namespace, the caller's to close."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            udp.bind((address, port))
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((address, port))
        except BaseException:
            tcp.close()
            raise
    except BaseException:
        udp.close()
        raise
    return udp, tcp


def make_tap(name: str) -> None:
    """Make a TAP device in the calling thread's namespace, which goes with the namespace."""
    with _attached(name) as fd:
        fcntl.ioctl(fd, _TUNSETPERSIST, 1)


def give_tap(name: str, uid: int) -> None:
    """Let this user, who need have no capability, attach to a TAP device of the calling thread's namespace."""
    with _attached(name) as fd:
        fcntl.ioctl(fd, _TUNSETOWNER, uid)


def attach_tap(name: str) -> int:
    """A descriptor for a TAP device of the calling thread's namespace, the caller's to close."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        # With virtio's headers, which every virtual machine monitor can do without copying.
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextmanager
def _attached(name: str) -> Iterator[int]:
    fd = attach_tap(name)
    try:
        yield fd
    finally:
        os.close(fd)
