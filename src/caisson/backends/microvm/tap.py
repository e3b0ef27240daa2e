"""Opens a TAP device that lies in another network namespace."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import struct
from concurrent.futures import ThreadPoolExecutor

from caisson.backends.microvm.vmm import Nic

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_FLAGS = 0x0002 | 0x1000 | 0x4000
"""A TAP, without a header of its own, with the one of virtio; linux/if_tun.h."""


async def open_tap(nic: Nic) -> int:
    """A descriptor for the card's TAP, which becomes the caller's. Raises OSError."""
    # The namespace is a thread's, and this thread is used for nothing else.
    with ThreadPoolExecutor(1) as threads:
        return await asyncio.get_running_loop().run_in_executor(threads, _open, nic)


def _open(nic: Nic) -> int:
    namespace = os.open(nic.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(namespace)
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", nic.tap.encode(), _FLAGS))
    except OSError:
        os.close(fd)
        raise
    return fd
