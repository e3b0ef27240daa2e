"""The folder that a Firecracker sees as `/`, or works in where it is not jailed: what is put in and what is found.

Once Firecracker runs, the folder is its own, and a guest that broke out of its machine can put there what it likes. So
nothing in it is followed: not a symlink to the host's own sockets, not a file that became a pipe.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from caisson.backends.microvm.vmm import VmmError


@dataclass(frozen=True, slots=True)
class Bind:
    """A file to be shown at another place by a mount in the jail's own namespace, which vanishes with it."""

    source: Path
    target: Path
    writable: bool


class Root:
    """The folder, held open: it stays the same one whatever happens to its name. Must be closed."""

    def __init__(self, path: Path, uid: int | None) -> None:
        """`uid` is whose it will be; None where Firecracker is not jailed. Makes the folder and its parents."""
        path.mkdir(parents=True, mode=0o711)
        self.path = path
        self._uid = uid
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def place(self, source: Path, name: str, *, writable: bool = False) -> Bind | None:
        """Have the file `source` under `name`, without a copy. What is returned must be mounted when the jail is made.

        A writable one becomes the jail's user's. Raises VmmError if that user could not read it.
        """
        source = source.resolve()
        target = self.path / name
        if self._uid is None:
            target.symlink_to(source)
            return None
        if writable:
            os.chown(source, self._uid, self._uid)
        elif not source.stat().st_mode & stat.S_IROTH:
            raise VmmError(f"{source} is readable to its owner only, so a jailed Firecracker cannot open it")
        try:
            os.link(source, target)
        except OSError as error:
            # EXDEV: another file system. EMLINK: so many links already. EPERM: this one has none.
            if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
                raise
            target.touch(0o600)
            return Bind(source, target, writable)
        return None

    def fifo(self, name: str) -> int:
        """Make a named pipe for Firecracker to write to; our end, which becomes the caller's."""
        path = self.path / name
        os.mkfifo(path, 0o600)
        if self._uid is not None:
            os.chown(path, self._uid, self._uid)
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def connect(self, name: str) -> socket.socket:
        """Connect to a socket in here. Raises FileNotFoundError, ConnectionRefusedError, or VmmError for anything else.

        The path is one in /proc: a socket's own may have 107 bytes at most, and jails lie deeper than that.
        """
        with self._opened(name, os.O_PATH) as file:
            if not stat.S_ISSOCK(os.fstat(file.fd).st_mode):
                raise VmmError(f"{name} in the jail is not a socket")
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                client.connect(f"/proc/self/fd/{file.fd}")
            except OSError:
                client.close()
                raise
        client.setblocking(False)
        return client

    def open(self, name: str) -> int:
        """Open a regular file in here for reading. Raises VmmError if it is not one."""
        file = self._opened(name, os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(file.fd).st_mode):
            file.close()
            raise VmmError(f"{name} in the jail is not a file")
        return file.fd

    def remove(self, name: str) -> None:
        """Remove a name in here, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def close(self) -> None:
        """Let go of the folder; removing it is the business of whoever owns its parent. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _opened(self, name: str, flags: int) -> _Opened:
        try:
            return _Opened(os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd))
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise VmmError(f"{name} in the jail is not what it should be") from error
            raise


@dataclass(slots=True)
class _Opened:
    fd: int

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()
