"""Templates: made once for what they depend on, used only if they are what they were, removed when nobody needs one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from caisson.backends.microvm import snapshot
from caisson.backends.microvm.snapshot import (
    FILES,
    FOREIGN_S,
    MARKED_EVERY_S,
    UNUSED_S,
    Damaged,
    Key,
    Templates,
    name_of,
)
from tests.helpers.cancelling import PATIENCE_S, cancel_while_held

KEY: Key = {"image": "one", "kernel": "6.1", "runtime": "python", "ram_mb": "128"}
MEMORY = b"m" * 4096 + bytes(8192) + b"n" * 4096
HOUR_S = 3600.0

pytestmark = pytest.mark.anyio


class Maker:
    """Makes the files of a template, and counts how often."""

    def __init__(self, memory: bytes = MEMORY) -> None:
        self.made = 0
        self.fails = False
        self._memory = memory

    async def __call__(self, folder: Path) -> None:
        self.made += 1
        await asyncio.sleep(0.01)
        for name in FILES:
            (folder / name).write_bytes(self._memory if name == "memory" else name.encode())
            if self.fails:
                raise OSError("no room")


@contextmanager
def server(folder: Path) -> Iterator[Templates]:
    """The templates as one server has them."""
    templates = Templates(folder)
    try:
        yield templates
    finally:
        templates.close()


def aged(folder: Path, age_s: float) -> float:
    """Have all templates unused for so long; the time now."""
    now_s = time.time()
    for path in folder.iterdir():
        os.utime(path, (now_s - age_s, now_s - age_s))
    return now_s


def memfds() -> int:
    """How many memories of templates this process holds."""
    links = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum("caisson-template" in link for link in links)


async def memory_of(templates: Templates, key: Key, make: Callable[[Path], Awaitable[None]]) -> bytes:
    """Use a template; what its copies would have for memory."""
    async with templates.use(key, make) as template:
        fd = template.snapshot.memory_fd
        return os.pread(fd, os.fstat(fd).st_size, 0)


async def test_a_template_is_made_once_for_all_who_ask_at_once_and_for_the_next_server(tmp_path: Path) -> None:
    make = Maker()
    with server(tmp_path) as templates:
        assert not templates.has(KEY)
        got = await asyncio.gather(*(memory_of(templates, KEY, make) for _ in range(4)))
        assert got == [MEMORY] * 4
        assert templates.has(KEY)
        async with templates.use(KEY, make) as template:
            # Of a machine that was booted for it, as the first one's is in truth.
            assert template.take_first()
            assert not template.take_first()
    with server(tmp_path) as templates:
        assert templates.has(KEY)
        async with templates.use(KEY, make) as template:
            assert not template.take_first()
    assert make.made == 1
    assert names_in(tmp_path) == {name_of(KEY)}


@pytest.mark.parametrize("member", sorted(KEY))
async def test_what_it_depends_on_changes_and_it_is_another_template(member: str, tmp_path: Path) -> None:
    make, other = Maker(), {**KEY, member: "other"}
    with server(tmp_path) as templates:
        await memory_of(templates, KEY, make)
        assert not templates.has(other)
        await memory_of(templates, other, make)
    assert make.made == 2
    assert names_in(tmp_path) == {name_of(KEY), name_of(other)}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def flip(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def resize(path: Path, by: int) -> None:
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size + by)


def other_key(folder: Path) -> None:
    manifest = json.loads((folder / "template.json").read_text())
    manifest["key"]["image"] = "another"
    (folder / "template.json").write_text(json.dumps(manifest))


def other_digest(folder: Path) -> None:
    manifest = json.loads((folder / "template.json").read_text())
    manifest["digests"]["memory"] = "0" * 64
    (folder / "template.json").write_text(json.dumps(manifest))


def without_key(folder: Path) -> None:
    manifest = json.loads((folder / "template.json").read_text())
    del manifest["key"]
    (folder / "template.json").write_text(json.dumps(manifest))


def bad(damage: Callable[[Path], object], name: str) -> Callable[[Path], object]:
    """The damage, done to one file of a folder."""
    return lambda folder: damage(folder / name)


DAMAGE: dict[str, Callable[[Path], object]] = {
    **{f"a bit of {name}": bad(flip, name) for name in FILES},
    **{f"{name} shorter": bad(lambda path: resize(path, -1), name) for name in FILES},
    **{f"{name} longer": bad(lambda path: resize(path, 4096), name) for name in FILES},
    **{f"{name} gone": bad(Path.unlink, name) for name in FILES},
    "manifest cut": lambda folder: (folder / "template.json").write_text("{"),
    "manifest of another kind": lambda folder: (folder / "template.json").write_text("[]"),
    "manifest without digests": lambda folder: (folder / "template.json").write_text('{"key": {}, "digests": {}}'),
    "manifest without key": without_key,
    "manifest gone": lambda folder: (folder / "template.json").unlink(),
    "another key": other_key,
    "another digest": other_digest,
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_template_is_never_used_and_made_anew(damage: str, tmp_path: Path) -> None:
    make = Maker()
    with server(tmp_path) as templates:
        await memory_of(templates, KEY, make)
    DAMAGE[damage](tmp_path / name_of(KEY))
    with server(tmp_path) as templates:
        assert await memory_of(templates, KEY, make) == MEMORY
    assert make.made == 2
    with server(tmp_path) as templates:
        await memory_of(templates, KEY, make)
    assert make.made == 2, "the new one is whole"


async def test_what_happens_to_its_files_while_it_is_in_use_does_not_reach_its_copies(tmp_path: Path) -> None:
    make = Maker()
    with server(tmp_path) as templates:
        async with templates.use(KEY, make) as template:
            flip(tmp_path / name_of(KEY) / "memory")
            fd = template.snapshot.memory_fd
            assert os.pread(fd, len(MEMORY), 0) == MEMORY


async def test_a_making_that_fails_leaves_nothing_and_the_next_one_tries_again(tmp_path: Path) -> None:
    make = Maker()
    make.fails = True
    with server(tmp_path) as templates:
        with pytest.raises(OSError, match="no room"):
            await memory_of(templates, KEY, make)
        assert names_in(tmp_path) == set()
        make.fails = False
        assert await memory_of(templates, KEY, make) == MEMORY


async def test_of_two_servers_that_make_one_at_once_both_have_one(tmp_path: Path) -> None:
    make = Maker()
    with server(tmp_path) as one, server(tmp_path) as other:
        got = await asyncio.gather(memory_of(one, KEY, make), memory_of(other, KEY, make))
    assert list(got) == [MEMORY, MEMORY]
    assert names_in(tmp_path) == {name_of(KEY)}


async def test_what_a_maker_left_out_is_damage_and_no_template(tmp_path: Path) -> None:
    async def make(folder: Path) -> None:
        (folder / "memory").write_bytes(MEMORY)

    with server(tmp_path) as templates:
        with pytest.raises((Damaged, OSError)):
            await memory_of(templates, KEY, make)
        assert not templates.has(KEY)


async def test_old_and_foreign_templates_are_collected_and_those_in_use_are_not(tmp_path: Path) -> None:
    make = Maker()
    keys = {name: {**KEY, "image": name} for name in ("current", "gone", "unused", "in use")}
    with server(tmp_path) as templates:
        for key in keys.values():
            await memory_of(templates, key, make)
    now_s = (tmp_path / name_of(keys["current"])).stat().st_mtime
    long_ago = now_s - UNUSED_S - HOUR_S
    os.utime(tmp_path / name_of(keys["unused"]), (long_ago, long_ago))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "template.json").write_text("{")
    for name in (name_of(keys["gone"]), name_of(keys["current"]), "broken"):
        os.utime(tmp_path / name, (now_s - FOREIGN_S - HOUR_S,) * 2)
    for name, age_s in ((".making-dead", 2 * HOUR_S), (".making-now", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (now_s - age_s, now_s - age_s))
    with server(tmp_path) as templates:
        await memory_of(templates, keys["in use"], make)
        removed = templates.collect(lambda key: key.get("image") in {"current", "unused"}, now_s)
        kept = {name_of(keys["current"]), name_of(keys["in use"]), ".making-now"}
        assert names_in(tmp_path) == kept
        assert removed == 4
        assert templates.collect(lambda key: True, now_s) == 0
    assert make.made == len(keys)


async def test_using_a_template_keeps_it_from_growing_old(tmp_path: Path) -> None:
    make = Maker()
    with server(tmp_path) as templates:
        await memory_of(templates, KEY, make)
    folder = tmp_path / name_of(KEY)
    os.utime(folder, (0, 0))
    with server(tmp_path) as templates:
        await memory_of(templates, KEY, make)
    assert folder.stat().st_mtime > 0


async def test_a_server_that_serves_for_long_marks_what_it_uses_and_no_other_removes_it(tmp_path: Path) -> None:
    make = Maker()
    with server(tmp_path) as serving, server(tmp_path) as starting:
        await memory_of(serving, KEY, make)
        now_s = aged(tmp_path, UNUSED_S + HOUR_S)
        await memory_of(serving, KEY, make)
        assert starting.collect(lambda key: True, now_s) == 0
        now_s = aged(tmp_path, MARKED_EVERY_S / 2)
        before_s = (tmp_path / name_of(KEY)).stat().st_mtime
        await memory_of(serving, KEY, make)
        assert (tmp_path / name_of(KEY)).stat().st_mtime == before_s, "a mark now and then is enough"
        assert starting.collect(lambda key: True, now_s) == 0
    assert make.made == 1


async def test_what_one_server_has_no_use_for_stays_while_another_uses_it(tmp_path: Path) -> None:
    """Its catalogue or kernel is another."""
    make = Maker()
    with server(tmp_path) as one, server(tmp_path) as other:
        await memory_of(one, KEY, make)
        assert other.collect(lambda key: False, aged(tmp_path, FOREIGN_S - HOUR_S)) == 0
        assert other.collect(lambda key: False, aged(tmp_path, FOREIGN_S + HOUR_S)) == 1
        assert names_in(tmp_path) == set()


async def test_a_template_that_was_removed_is_made_anew_and_its_memory_let_go_with_its_last_copy(
    tmp_path: Path,
) -> None:
    make, before = Maker(), memfds()
    with server(tmp_path) as serving, server(tmp_path) as starting:
        async with serving.use(KEY, make) as old:
            assert starting.collect(lambda key: True, aged(tmp_path, UNUSED_S + HOUR_S)) == 1
            assert not serving.has(KEY)
            async with serving.use(KEY, make) as new:
                assert new.disk.read_bytes() == b"disk"
                assert new.take_first()
            assert memfds() == before + 2
            assert os.pread(old.snapshot.memory_fd, 1, 0) == b"m", "a machine that is just being copied has it still"
        assert memfds() == before + 1
        shutil.rmtree(tmp_path / name_of(KEY))
        assert await memory_of(serving, KEY, make) == MEMORY
        assert memfds() == before + 1
    assert make.made == 3
    assert memfds() == before


async def test_a_copy_never_has_one_template_s_memory_and_another_s_disk(tmp_path: Path) -> None:
    """Another server put one of its own in the place of the one that was loaded."""
    other_memory = MEMORY.replace(b"m", b"o")
    with server(tmp_path) as serving, server(tmp_path) as other:
        assert await memory_of(serving, KEY, Maker()) == MEMORY
        other.collect(lambda key: True, aged(tmp_path, UNUSED_S + HOUR_S))
        await memory_of(other, KEY, Maker(other_memory))
        unused = Maker()
        assert await memory_of(serving, KEY, unused) == other_memory
        assert unused.made == 0


async def test_nobody_finds_a_part_of_a_template_that_is_being_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, seen = Maker(), []
    with server(tmp_path) as serving, server(tmp_path) as starting:
        await memory_of(serving, KEY, make)
        now_s = aged(tmp_path, UNUSED_S + HOUR_S)
        monkeypatch.setattr(shutil, "rmtree", lambda folder, ignore_errors: seen.append(serving.has(KEY)))
        assert starting.collect(lambda key: True, now_s) == 1
    assert seen == [False]


async def test_more_templates_than_are_kept_in_memory_are_let_go_but_not_while_in_use(tmp_path: Path) -> None:
    make = Maker()
    before = memfds()
    with server(tmp_path) as templates:
        async with templates.use(KEY, make) as used:
            for number in range(40):
                await memory_of(templates, {**KEY, "ram_mb": str(number)}, make)
            assert memfds() - before < 20
            assert os.pread(used.snapshot.memory_fd, 1, 0) == b"m"
    assert memfds() == before


Held = tuple[threading.Event, threading.Event]


def hold(monkeypatch: pytest.MonkeyPatch, name: str) -> Held:
    """Have a thread that calls this of `snapshot` held, once it has what it gives; it has begun, and it may go on."""
    begun, go_on = threading.Event(), threading.Event()
    original = getattr(snapshot, name)

    def held(*args: object) -> object:
        given = original(*args)
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return given

    monkeypatch.setattr(snapshot, name, held)
    return begun, go_on


@pytest.mark.parametrize("is_there", [False, True], ids=["just made", "there"])
async def test_a_template_whose_loading_is_cancelled_holds_no_memory(
    is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, before = Maker(), memfds()
    with server(tmp_path) as other:
        if is_there:
            await memory_of(other, KEY, make)
    with server(tmp_path) as templates:
        loading = asyncio.create_task(memory_of(templates, KEY, make))
        await cancel_while_held(loading, *hold(monkeypatch, "sealed_copy"))
        monkeypatch.undo()
        assert memfds() == before
        assert await memory_of(templates, KEY, make) == MEMORY
    assert make.made == 1
    assert memfds() == before


@pytest.mark.parametrize("step", ["digest", "_seal", "_remove"])
async def test_a_making_that_is_cancelled_leaves_nothing_half_made(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Maker()
    with server(tmp_path) as templates:
        making = asyncio.create_task(memory_of(templates, KEY, make))
        await cancel_while_held(making, *hold(monkeypatch, step))
        assert names_in(tmp_path) <= {name_of(KEY)}
        monkeypatch.undo()
        assert await memory_of(templates, KEY, make) == MEMORY


async def test_a_damaged_one_whose_removal_is_cancelled_is_removed_before_another_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Maker()
    with server(tmp_path) as templates:
        await memory_of(templates, KEY, make)
    flip(tmp_path / name_of(KEY) / "state")
    with server(tmp_path) as templates:
        using = asyncio.create_task(memory_of(templates, KEY, make))
        await cancel_while_held(using, *hold(monkeypatch, "_discard"))
        monkeypatch.undo()
        assert names_in(tmp_path) == set()
        assert await memory_of(templates, KEY, make) == MEMORY
