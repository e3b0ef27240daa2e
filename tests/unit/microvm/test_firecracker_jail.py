"""The jail of a Firecracker: its command line, and a folder in which nothing is trusted."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from caisson.backends.microvm.firecracker.jailer import Programs, command_line, jail_name, root_folder
from caisson.backends.microvm.firecracker.root import Bind, Root
from caisson.backends.microvm.firecracker.vsock import dial
from caisson.backends.microvm.vmm import VmmError

JAILED = Programs(Path("/opt/firecracker"), Path("/opt/jailer"))
ME = os.getuid()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root(tmp_path / "jail" / "root", ME)
    yield root
    root.close()


def test_the_jailer_gets_its_user_its_folder_and_firecrackers_arguments() -> None:
    bind = Bind(Path("/images/a"), Path("/node/m1/firecracker/m1/root/drive0"), writable=False)
    line = command_line(
        JAILED, id="m1", home=Path("/node/m1"), uid=700_001, netns=Path("/run/netns/s1"), binds=[bind], info_fd=9
    )
    text = " ".join(line)
    assert "nsenter --net=/run/netns/s1 -- bwrap" in text
    assert f"--ro-bind {bind.source} {bind.target}" in text
    jailer = line[line.index("/opt/jailer") :]
    assert jailer[: jailer.index("--resource-limit")] == [
        *("/opt/jailer", "--id", "m1", "--exec-file", "/opt/firecracker"),
        *("--uid", "700001", "--gid", "700001", "--chroot-base-dir", "/node/m1"),
    ]
    assert "--api-sock" in jailer[jailer.index("--") :]
    # What the seccomp filter lets through is Firecracker's own business.
    assert not any("seccomp" in word for word in line)
    assert root_folder(JAILED, Path("/node/m1"), "m1") == bind.target.parent


def test_a_machine_without_a_card_has_a_network_of_its_own() -> None:
    line = command_line(JAILED, id="m1", home=Path("/h"), uid=1, netns=None, info_fd=9)
    assert "--unshare-net" in line
    assert "nsenter" not in line


def test_without_a_jailer_there_are_still_namespaces() -> None:
    programs = Programs(Path("/opt/firecracker"), None)
    line = command_line(programs, id="m1", home=Path("/h"), uid=None, netns=None, info_fd=9)
    assert {"--unshare-pid", "--unshare-net", "--die-with-parent"} <= set(line)
    assert "--uid" not in line
    assert line[line.index("--chdir") + 1] == str(root_folder(programs, Path("/h"), "m1"))


@pytest.mark.parametrize(("id", "name"), [("a_b.c", "a-b-c"), ("x" * 80, "x" * 64), ("", "-")])
def test_names_are_ones_the_jailer_takes(id: str, name: str) -> None:
    assert jail_name(id) == name


def test_inputs_are_linked_and_not_copied(root: Root, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_text("x")
    assert root.place(image, "drive0") is None
    assert (root.path / "drive0").stat().st_ino == image.stat().st_ino


def test_an_input_on_another_file_system_is_to_be_mounted(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "image"
    image.write_text("x")

    def no_link(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    assert root.place(image, "drive0") == Bind(image, root.path / "drive0", writable=False)
    assert (root.path / "drive0").stat().st_size == 0


def test_an_input_that_the_jails_user_cannot_read_is_refused(root: Root, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.touch(0o600)
    with pytest.raises(VmmError, match="readable to its owner only"):
        root.place(image, "drive0")


def test_a_hostile_jail_cannot_lead_the_host_elsewhere(root: Root, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "docker.sock"))
        other.listen()
        (root.path / "v.sock").symlink_to(tmp_path / "docker.sock")
        with pytest.raises(VmmError):
            root.connect("v.sock")
    (root.path / "state").symlink_to("/etc/passwd")
    with pytest.raises(VmmError):
        root.open("state")
    os.mkfifo(root.path / "memory")
    with pytest.raises(VmmError):
        root.open("memory")
    # The folder itself may be moved and replaced: the one that was made is held.
    root.path.rename(tmp_path / "jail" / "moved")
    root.path.symlink_to("/etc")
    with pytest.raises(FileNotFoundError):
        root.open("passwd")


def test_pipes_are_the_jails_own_and_read_from_outside(root: Root) -> None:
    ours = root.fifo("log.fifo")
    try:
        status = (root.path / "log.fifo").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, ME)
        with (root.path / "log.fifo").open("wb", buffering=0) as theirs:
            theirs.write(b"word")
            assert os.read(ours, 10) == b"word"
    finally:
        os.close(ours)


@pytest.mark.anyio
async def test_a_port_is_reached_as_soon_as_somebody_listens_and_no_byte_is_lost(root: Root) -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        # As Firecracker does: it hangs up as long as the guest does not listen.
        if len(asked) > 2:
            writer.write(b"OK 1073741824\nHELLO")
            await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(answer, root.path / "v.sock")
    client = await dial(root, "v.sock", 1024, lambda: False)
    assert await asyncio.get_running_loop().sock_recv(client, 100) == b"HELLO"
    assert asked == [b"CONNECT 1024\n"] * 3
    client.close()
    server.close()


@pytest.mark.anyio
async def test_nonsense_in_place_of_ok_is_an_error(root: Root) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 1000)
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(answer, root.path / "v.sock")
    with pytest.raises(VmmError, match="CONNECT"):
        await dial(root, "v.sock", 1024, lambda: False)
    server.close()


@pytest.mark.anyio
async def test_dialling_ends_when_firecracker_has_ended(root: Root) -> None:
    with pytest.raises(VmmError, match="ended"):
        await dial(root, "v.sock", 1024, lambda: True)
