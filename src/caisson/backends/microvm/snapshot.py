"""Templates: machines saved with their interpreter up and waiting, which every later machine of their kind continues.

A template is made of a fresh boot that never saw a workload. It lies in a folder named after the digest of all it
depends on, appears there at once, is verified when a server first uses it, and is removed when it is damaged or when
nobody used it for long. Servers that share the folder know nothing of each other but what lies there: each use marks
the template as used, and looks whether it still is the one that was loaded.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import secrets
import shutil
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from caisson.backends.microvm.memory import digest, sealed_copy
from caisson.backends.microvm.vmm import Snapshot
from caisson.host.shield import acquired, uninterrupted

logger = structlog.get_logger(__name__)

FILES = ("memory", "state", "disk")
_MANIFEST = "template.json"
_STAGING = ".making-"
_LOADED_MOST = 16
"""Templates kept in memory; one is about as large as what its interpreter uses."""
UNUSED_S = 7 * 86_400.0
FOREIGN_S = 86_400.0
"""After so long without use goes what this server has no use for: another one may have."""
MARKED_EVERY_S = 3600.0
"""How late a use may show; far less than what is removed was unused for."""
_ABANDONED_S = 3600.0

Key = Mapping[str, str]
"""Everything a template depends on, by name."""


class Damaged(Exception):
    """A template is not what it was when it was made."""


@dataclass(slots=True, eq=False)
class Template:
    """One template in use: verified, and held in memory that nobody can change."""

    folder: Path
    snapshot: Snapshot
    disk: Path
    """The machine's disk as it was at the same moment; to be copied."""
    manifest: bytes
    """What it was verified against."""
    users: int = 0
    is_dropped: bool = False
    is_new: bool = False
    """It was made in this process, and nothing was copied from it."""
    copied_at: float = -math.inf
    """When a copy with an interpreter was last wanted, on the monotonic clock."""

    def take_first(self) -> bool:
        """True for the first one who asks after it was made: its machine, in truth, was booted."""
        first, self.is_new = self.is_new, False
        return first

    def is_in_place(self) -> bool:
        """True if its folder still has it, and is marked as used; else state and disk are gone, or another memory's."""
        try:
            # Not the folder's inode: a new one is often given the number of the one that was removed.
            if (self.folder / _MANIFEST).read_bytes() != self.manifest:
                return False
            if time.time() - self.folder.stat().st_mtime > MARKED_EVERY_S:
                os.utime(self.folder)
        except OSError:
            return False
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, its memory is not let go of."""
        self.users += 1
        try:
            yield
        finally:
            self.leave()

    def leave(self) -> None:
        """One user less."""
        self.users -= 1
        if self.is_dropped and self.users == 0:
            self.close()

    def drop(self) -> None:
        """Close it when the last user has left."""
        self.is_dropped = True
        if self.users == 0:
            self.close()

    def close(self) -> None:
        """Let go of the memory; machines that map it keep it."""
        os.close(self.snapshot.memory_fd)


@dataclass(slots=True)
class Templates:
    """The templates below one folder, which several servers may share."""

    folder: Path
    built: int = 0
    _loaded: OrderedDict[str, Template] = field(default_factory=OrderedDict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    @asynccontextmanager
    async def use(self, key: Key, build: Callable[[Path], Awaitable[None]]) -> AsyncIterator[Template]:
        """The template of this key.

        `build` is called, by one of several callers, with an empty folder for `FILES`. Its failures are the caller's.
        """
        name = name_of(key)
        async with self._locks.setdefault(name, asyncio.Lock()):
            template = self._loaded.get(name)
            if template is not None and not template.is_in_place():
                logger.info("template was removed or replaced", template=name)
                self._loaded.pop(name).drop()
                template = None
            if template is None:
                template = self._loaded[name] = await self._provide(name, key, build)
            self._loaded.move_to_end(name)
            template.users += 1
        self._trim()
        try:
            yield template
        finally:
            template.leave()

    def has(self, key: Key) -> bool:
        """True if the template need not be made first."""
        return (self.folder / name_of(key) / _MANIFEST).exists()

    def close(self) -> None:
        """Let go of what is in memory."""
        while self._loaded:
            self._loaded.popitem()[1].close()

    def collect(self, current: Callable[[Key], bool], now_s: float) -> int:
        """Remove templates that nobody used for long, and what dead builders left; how many. Blocks.

        `current`: what this server has a use for. What it has none for goes sooner, but not while others use it.
        """
        removed = 0
        for folder in self.folder.iterdir() if self.folder.is_dir() else ():
            if folder.name in self._loaded:
                continue
            with suppress(OSError):
                age_s = now_s - folder.stat().st_mtime
                if folder.name.startswith(_STAGING):
                    limit_s = _ABANDONED_S
                else:
                    limit_s = UNUSED_S if current(_read_key(folder)) else FOREIGN_S
                if age_s > limit_s:
                    _discard(folder)
                    removed += 1
        return removed

    async def _provide(self, name: str, key: Key, build: Callable[[Path], Awaitable[None]]) -> Template:
        folder = self.folder / name
        # One without its manifest as well: where it stands, a new one could not be put.
        if folder.exists():
            try:
                return await _loaded(folder, key)
            except (Damaged, OSError) as error:
                logger.warning("template is damaged and will be made anew", template=name, error=str(error))
                with suppress(OSError):  # another server was faster
                    await uninterrupted(asyncio.to_thread(_discard, folder))
        await self._build(folder, key, build)
        try:
            template = await _loaded(folder, key)
        except OSError as error:
            raise Damaged(f"the template {name} cannot be read: {error}") from error
        template.is_new = True
        return template

    async def _build(self, folder: Path, key: Key, build: Callable[[Path], Awaitable[None]]) -> None:
        began = time.monotonic()
        making = self.folder / f"{_STAGING}{secrets.token_hex(8)}"
        try:
            # Each thread to its end: one that nobody waits for would write on into a folder that is being removed.
            await uninterrupted(asyncio.to_thread(making.mkdir, 0o700, parents=True))
            await build(making)
            await uninterrupted(asyncio.to_thread(_seal, making, key))
            with suppress(OSError):  # another server was faster, with one as good
                making.rename(folder)
        finally:
            await uninterrupted(asyncio.to_thread(_remove, making))
        self.built += 1
        logger.info("template made", template=folder.name, runtime=key.get("runtime"), seconds=time.monotonic() - began)

    def _trim(self) -> None:
        for name in list(self._loaded):
            if len(self._loaded) <= _LOADED_MOST:
                return
            if self._loaded[name].users == 0:
                self._loaded.pop(name).close()


def name_of(key: Key) -> str:
    """The folder's name."""
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]


def _seal(folder: Path, key: Key) -> None:
    digests = {}
    for name in FILES:
        with (folder / name).open("rb") as file:
            digests[name] = digest(file.fileno())
        (folder / name).chmod(0o444)
    (folder / _MANIFEST).write_text(json.dumps({"key": dict(key), "digests": digests}))


async def _loaded(folder: Path, key: Key) -> Template:
    # Its thread goes on when its task is cancelled, and nobody else would ever close the memory it loads.
    return await acquired(asyncio.to_thread(_load, folder, key), Template.close)


def _load(folder: Path, key: Key) -> Template:
    try:
        manifest = (folder / _MANIFEST).read_bytes()
        stored = json.loads(manifest)
        digests = {name: str(stored["digests"][name]) for name in FILES}
        made_for = stored["key"]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{folder / _MANIFEST} cannot be read") from error
    if made_for != dict(key):
        raise Damaged(f"{folder} is another template's")
    for name in ("state", "disk"):
        with (folder / name).open("rb") as file:
            if digest(file.fileno()) != digests[name]:
                raise Damaged(f"{folder / name} has other bytes than when it was made")
    with ExitStack() as stack:
        try:
            memory = sealed_copy(folder / "memory", digests["memory"])
        except ValueError as error:
            raise Damaged(str(error)) from error
        stack.callback(os.close, memory)
        os.utime(folder)
        stack.pop_all()
    return Template(folder, Snapshot(folder, memory), folder / "disk", manifest)


def _read_key(folder: Path) -> Key:
    """The key of a template; an empty one if it cannot be read."""
    try:
        key = json.loads((folder / _MANIFEST).read_text())["key"]
        return {str(name): str(value) for name, value in key.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _discard(folder: Path) -> None:
    """Remove a template, for all others at once: nobody is to find a part of one. Raises OSError if it is gone."""
    removed = folder.with_name(f"{_STAGING}{secrets.token_hex(8)}")
    folder.rename(removed)
    _remove(removed)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
