"""What an image says of how it is run: its configuration, as far as it is honoured, and the user it names."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import Struct

from caisson.images.oci.errors import NoSuchImage

MAX_ID = (1 << 31) - 1
_MAX_FILE_BYTES = 1 << 20


class _Settings(Struct, rename="pascal"):
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    user: str | None = None
    working_dir: str | None = None


class _Config(Struct):
    architecture: str = ""
    os: str = ""
    config: _Settings | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How an image is run. `uid` and `gid` are looked up in its own files."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    uid: int = 0
    gid: int = 0
    home: str = "/"


def read_settings(config: bytes, root: Path) -> Settings:
    """The settings in an image's configuration file, for its unpacked root. Raises NoSuchImage."""
    try:
        found = msgspec.json.decode(config, type=_Config).config or _Settings()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoSuchImage(f"the image has no configuration that can be read: {error}") from error
    env = dict(item.split("=", 1) for item in found.env or [] if "=" in item and not item.startswith("="))
    workdir = found.working_dir or "/"
    texts = [*(found.entrypoint or []), *(found.cmd or []), *env, *env.values(), workdir]
    if any("\0" in text for text in texts):
        raise NoSuchImage("the image has settings with a NUL in them")
    uid, gid, home = find_user(found.user or "", root)
    return Settings(
        tuple(found.entrypoint or ()),
        tuple(found.cmd or ()),
        env,
        workdir if workdir.startswith("/") else f"/{workdir}",
        uid,
        gid,
        home,
    )


def find_user(user: str, root: Path) -> tuple[int, int, str]:
    """User id, group id and home of `USER[:GROUP]`, by name or number, in an image. Raises NoSuchImage."""
    name, colon, group = user.partition(":")
    uid, gid, home = 0, 0, "/"
    entries = _entries(root / "etc/passwd", 7)
    by_number = _number(name)
    wanted = name or "0"
    entry = next((each for each in entries if wanted in (each[0], each[2])), None)
    if by_number is not None:
        uid = by_number
    elif entry is None:
        if name:
            raise NoSuchImage(f"the image runs as the user {name[:64]!r}, whom it does not know")
    elif (known := _number(entry[2])) is not None:
        uid = known
    if entry is not None:
        gid = _number(entry[3]) or 0
        home = entry[5] if entry[5].startswith("/") else "/"
    if colon and group:
        number = _number(group)
        if number is None:
            groups = _entries(root / "etc/group", 4)
            number = next((_number(each[2]) for each in groups if each[0] == group), None)
        if number is None:
            raise NoSuchImage(f"the image runs as the group {group[:64]!r}, which it does not know")
        gid = number
    return uid, gid, home


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text[:11]) <= MAX_ID else None


def _entries(path: Path, members: int) -> list[list[str]]:
    """Lines of a file of an image; none if any part of the path is a link, which may lead out of the image."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        fd = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return []
    finally:
        os.close(folder)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return []
        lines = file.read(_MAX_FILE_BYTES).decode("utf-8", "replace").splitlines()
    return [parts for line in lines if len(parts := line.split(":")) >= members]
