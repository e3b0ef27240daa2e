"""Images from a real registry: fetched once, shared, honoured, and used when the registry is not there."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import platform
import tarfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from caisson.images.errors import ImageInUse
from caisson.images.oci.errors import NoSuchImage, RegistryTrouble
from caisson.images.oci.pull import Puller, Rules
from caisson.images.oci.reference import parse_reference
from caisson.images.oci.skopeo import ARCHITECTURES, Access
from caisson.images.oci.store import ROOT, OciImage, OciStore
from tests.helpers.oci_images import Entry, make_image, make_layer, need_oci_tools, push, push_index
from tests.helpers.registry import PASSWORD, PASSWORD_LINE, USER, Registry, running_registry

BASE = make_layer(
    [
        Entry("etc", kind=tarfile.DIRTYPE, mode=0o755),
        Entry("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:1001:1002::/home/app:/bin/sh\n"),
        Entry("etc/group", b"root:x:0:\nstaff:x:50:\n"),
        Entry("bin", kind=tarfile.DIRTYPE, mode=0o755),
        Entry("bin/tool", b"#!/bin/sh\n", mode=0o755),
        Entry("old", kind=tarfile.DIRTYPE, mode=0o755),
        Entry("old/gone", b"1"),
        Entry("old/kept", b"1"),
        Entry("home/app/mine", b"", uid=1001, gid=1002, mode=0o600),
    ]
)


@pytest.fixture(autouse=True)
def tools() -> None:
    need_oci_tools()


def pull(puller: Puller, reference: str) -> OciImage:
    with ExitStack() as stack:
        return asyncio.run(puller.provide(parse_reference(reference), stack))


def blobs(store: OciStore) -> set[str]:
    return {f"sha256:{path.name}" for path in (store.blobs / "sha256").iterdir()}


def nothing_half_made(store: OciStore) -> bool:
    return list((store.folder / "staging").iterdir()) == []


def test_an_image_is_unpacked_with_its_settings_whiteouts_and_owners(
    registry: Registry, store: OciStore, make_puller: Callable[..., Puller], tmp_path: Path
) -> None:
    upper = make_layer([Entry("old/.wh.gone"), Entry("new", b"2"), Entry("link", kind=tarfile.SYMTYPE, link="/etc")])
    settings: dict[str, Any] = {
        "Entrypoint": ["/bin/tool"],
        "Cmd": ["--help"],
        "Env": ["A=1", "B=x=y"],
        "User": "app:staff",
        "WorkingDir": "/srv",
    }
    image = make_image(BASE, upper, **settings)
    reference = push(registry, image, "settings:1", tmp_path / "layout")
    found = pull(make_puller(registry.host), reference)
    assert found.digest == image.digest
    names = {path.relative_to(found.root).as_posix() for path in found.root.rglob("*")}
    assert {"old/kept", "new", "link", "etc/passwd", "bin/tool", "proc", "dev", "tmp", "work", "caisson"} <= names
    assert "old/gone" not in names
    assert not any(".wh." in name for name in names)
    if os.geteuid() == 0:
        assert (found.root / "home/app/mine").stat().st_uid == 1001
    how = found.settings()
    assert (how.entrypoint, how.cmd, how.env) == (("/bin/tool",), ("--help",), {"A": "1", "B": "x=y"})
    assert (how.uid, how.gid, how.home, how.workdir) == (1001, 50, "/home/app", "/srv")
    assert nothing_half_made(store)


def test_a_folder_of_images_that_is_a_link_to_another_disk_is_as_good(
    registry: Registry, make_puller: Callable[..., Puller], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "images").symlink_to(tmp_path / "elsewhere")
    linked = OciStore(tmp_path / "images" / "oci")
    linked.prepare()
    reference = push(registry, make_image(BASE), "linked:1", tmp_path / "layout")
    rules = make_puller(registry.host)._rules
    assert (pull(Puller(linked, rules), reference).root / "bin/tool").exists()


def test_layers_that_are_here_are_not_fetched_again(
    registry: Registry, store: OciStore, make_puller: Callable[..., Puller], tmp_path: Path
) -> None:
    puller = make_puller(registry.host)
    first, second = make_image(BASE, Cmd=["1"]), make_image(BASE, make_layer([Entry("second", b"2")]), Cmd=["2"])
    shared = next(digest for digest in first.blobs if digest in second.blobs)
    pull(puller, push(registry, first, "layers:1", tmp_path / "1"))
    cached = store.blobs / shared.replace(":", "/")
    inode = cached.stat().st_ino
    reference = push(registry, second, "layers:2", tmp_path / "2")
    # The registry itself no longer has it: only a pull that does not ask for it can do.
    for path in registry.root.rglob(f"{shared.removeprefix('sha256:')}/data"):
        path.unlink()
    assert (pull(puller, reference).root / "second").exists()
    assert cached.stat().st_ino == inode


def test_the_image_for_this_machine_is_chosen_from_a_list(
    registry: Registry, store: OciStore, make_puller: Callable[..., Puller], tmp_path: Path
) -> None:
    own = ARCHITECTURES[platform.machine()]
    other = next(name for name in ARCHITECTURES.values() if name != own)
    images = {name: make_image(make_layer([Entry("arch", name.encode())]), architecture=name) for name in (own, other)}
    for name, image in images.items():
        push(registry, image, f"many:{name}", tmp_path / name)
    puller = make_puller(registry.host)
    found = pull(puller, push_index(registry, images, "many", "all"))
    assert (found.root / "arch").read_text() == own
    with pytest.raises(NoSuchImage, match=f"only for linux/{other}"):
        pull(puller, push_index(registry, {other: images[other]}, "many", "foreign"))


def test_many_who_want_one_image_make_one_pull(
    registry: Registry,
    store: OciStore,
    make_puller: Callable[..., Puller],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    puller = make_puller(registry.host)
    reference = parse_reference(push(registry, make_image(BASE, Cmd=["once"]), "once:1", tmp_path / "layout"))

    async def main() -> set[OciImage]:
        with ExitStack() as stack:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(puller.provide(reference, stack)) for _ in range(5)]
        return {task.result() for task in tasks}

    assert len(asyncio.run(main())) == 1
    assert capfd.readouterr().out.count("image pulled") == 1


def test_a_tag_is_asked_for_again_only_when_it_is_old(
    registry: Registry, store: OciStore, make_puller: Callable[..., Puller], tmp_path: Path
) -> None:
    old, new = make_image(BASE, Cmd=["old"]), make_image(BASE, Cmd=["new"])
    reference = push(registry, old, "moving:1", tmp_path / "old")
    patient, eager = make_puller(registry.host, refresh_s=3600.0), make_puller(registry.host, refresh_s=0.0)
    assert pull(patient, reference).digest == old.digest
    push(registry, new, "moving:1", tmp_path / "new")
    assert pull(patient, reference).digest == old.digest
    assert pull(eager, reference).digest == new.digest
    pinned = f"{reference.rpartition(':')[0]}@{old.digest}"
    assert pull(eager, pinned).digest == old.digest


def test_what_was_pulled_is_used_while_the_registry_is_down_if_the_rules_say_so(
    store: OciStore, make_puller: Callable[..., Puller], tmp_path: Path
) -> None:
    image = make_image(BASE, Cmd=["here"])
    with running_registry(tmp_path / "registry") as registry:
        reference = push(registry, image, "away:1", tmp_path / "layout")
        pull(make_puller(registry.host), reference)
    assert pull(make_puller(registry.host, refresh_s=0.0), reference).digest == image.digest
    with pytest.raises(RegistryTrouble, match="cannot be reached"):
        pull(make_puller(registry.host, refresh_s=0.0, offline=False), reference)
    with pytest.raises(RegistryTrouble, match="cannot be reached"):
        pull(make_puller(registry.host), f"{registry.host}/never:seen")


def test_a_private_registry_is_entered_with_the_auth_file_and_not_without(
    store: OciStore, make_puller: Callable[..., Puller], tmp_path: Path
) -> None:
    with running_registry(tmp_path / "registry", password_file=PASSWORD_LINE) as registry:
        who = f"{USER}:{PASSWORD}"
        reference = push(registry, make_image(BASE), "private:1", tmp_path / "layout", credentials=who)
        auth = base64.b64encode(who.encode()).decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
        with pytest.raises(NoSuchImage, match="right password"):
            pull(make_puller(registry.host), reference)
        assert pull(make_puller(registry.host, auth_file=tmp_path / "auth.json"), reference).root.is_dir()


def test_only_registries_of_the_list_are_asked(registry: Registry, make_puller: Callable[..., Puller]) -> None:
    with pytest.raises(NoSuchImage, match="may not be run here"):
        pull(make_puller(registry.host, registries=frozenset({"registry.example"})), f"{registry.host}/a:1")


def test_a_registry_without_tls_is_not_trusted_unless_it_is_named(registry: Registry, store: OciStore) -> None:
    with pytest.raises(RegistryTrouble, match=r"does not speak TLS; .*CAISSON_OCI_INSECURE_REGISTRIES"):
        pull(Puller(store, Rules(access=Access(timeout_s=30))), f"{registry.host}/any/thing:1")


def test_an_image_in_use_stays_and_others_go_by_age_and_size(
    registry: Registry, store: OciStore, make_puller: Callable[..., Puller], tmp_path: Path
) -> None:
    puller = make_puller(registry.host)
    made = [make_image(make_layer([Entry("data", os.urandom(100_000))]), Cmd=[str(number)]) for number in range(3)]
    images = [
        pull(puller, push(registry, image, f"kept:{number}", tmp_path / str(number)))
        for number, image in enumerate(made)
    ]
    for number, image in enumerate(images):
        os.utime(image.folder, (1_000 * number, 1_000 * number))
    with store.lease(images[0]):
        with pytest.raises(ImageInUse):
            store.remove(images[0])
        size = images[2].about.size
        os.utime(images[0].folder, (0, 0))
        assert store.sweep(keep_bytes=size, keep_s=10_000, now=2_000) == [images[1]]
        assert [image.digest for image in store.images()] == [images[2].digest, images[0].digest]
    assert store.sweep(keep_bytes=10 * size, keep_s=1_500, now=2_000) == [images[0]]
    assert store.find(parse_reference(f"{registry.host}/kept:0")) is None
    left = {digest for digest in made[2].blobs} | {made[2].digest}
    assert blobs(store) == left


def test_a_pull_that_is_cancelled_leaves_nothing_and_can_be_done_again(
    registry: Registry, store: OciStore, make_puller: Callable[..., Puller], tmp_path: Path
) -> None:
    layer = make_layer([Entry(f"file{number}", os.urandom(10_000)) for number in range(2_000)])
    reference = push(registry, make_image(layer), "large:1", tmp_path / "layout")
    puller = make_puller(registry.host)

    async def cancelled(made: str) -> None:
        pulling = asyncio.create_task(puller.provide(parse_reference(reference), ExitStack()))
        while not any(store.folder.glob(made)):
            await asyncio.sleep(0)
            assert not pulling.done(), f"it was over before there was {made}"
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling

    # While it is fetched, before and while it is unpacked.
    for made in ("staging/*/layout", "staging/*/layout/index.json", f"staging/*/image/{ROOT}/file*"):
        asyncio.run(cancelled(made))
        assert nothing_half_made(store)
        assert store.images() == []
    assert len(list(pull(puller, reference).root.glob("file*"))) == 2_000


def test_what_a_dead_process_left_half_made_is_swept(store: OciStore) -> None:
    left = store.folder / "staging/4711-1/image/root"
    left.mkdir(parents=True)
    (store.blobs / "sha256" / ("0" * 64)).write_bytes(b"half")
    store.sweep(keep_bytes=1, keep_s=1)
    assert nothing_half_made(store)
    assert blobs(store) == set()
