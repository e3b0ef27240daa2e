"""Writes an initramfs: a `newc` archive, byte for byte the same for the same content.

See the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

_CONSOLE = (5, 1)
_ALIGN = 4


class Archive:
    """Collects entries; every parent folder is made by itself."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._folders = {""}
        self._inode = 0

    def folder(self, name: str) -> None:
        """A folder, if it is not there yet. Names have no leading slash."""
        if name in self._folders:
            return
        self._parents(name)
        self._folders.add(name)
        self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, data: bytes, *, executable: bool = False) -> None:
        """A regular file."""
        self._parents(name)
        self._entry(name, stat.S_IFREG | (0o755 if executable else 0o644), data)

    def device(self, name: str, major: int, minor: int) -> None:
        """A character device."""
        self._parents(name)
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def finish(self) -> bytes:
        """The archive. Nothing may be added afterwards."""
        self._entry("TRAILER!!!", 0)
        return bytes(self._data)

    def _parents(self, name: str) -> None:
        parent, slash, _ = name.rpartition("/")
        if slash:
            self.folder(parent)

    def _entry(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        path = name.encode() + b"\0"
        # Magic; then inode, mode, uid, gid, links, mtime, size, device of the file system, own device, name, check.
        numbers = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        self._data += b"070701" + b"".join(b"%08X" % number for number in numbers) + path
        self._pad()
        self._data += data
        self._pad()

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % _ALIGN)


def make_initramfs(guest: Path, modules: Sequence[Path] = ()) -> bytes:
    """An initramfs with the guest folder as `/caisson`, and modules for the agent to load in this order."""
    archive = Archive()
    archive.folder("dev")
    archive.device("dev/console", *_CONSOLE)
    for path in sorted(guest.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            archive.file(f"caisson/{path.relative_to(guest)}", data, executable=data.startswith((b"\x7fELF", b"#!")))
    if modules:
        for path in modules:
            archive.file(f"modules/{path.name}", path.read_bytes())
        archive.file("modules/order", "".join(f"{path.name}\n" for path in modules).encode())
    return archive.finish()
