"""Firecracker's API: what is asked fits its description, and nothing that comes back breaks the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from caisson.backends.microvm.firecracker import api as api_module
from caisson.backends.microvm.firecracker.api import Api, ApiError, connected
from caisson.backends.microvm.firecracker.plan import Rates, boot_arguments, configuration, console, loading, saving
from caisson.backends.microvm.firecracker.shapes import Vm
from caisson.backends.microvm.vmm import Drive, Kernel, MachineConfig, Nic
from tests.helpers.firecracker import FakeFirecracker, fake_firecracker, fault_in, reply

CONFIG = MachineConfig(
    vcpus=2,
    ram_mb=256,
    kernel=Kernel(Path("/k"), Path("/i"), "6.1", "digest", needs_acpi=False),
    drives=(Drive(Path("/root.erofs"), read_only=True), Drive(Path("/upper.ext4"), read_only=False)),
    nic=Nic("tap0", Path("/run/netns/a"), "02:00:00:00:00:01"),
    agent=("--nonce", "00"),
    env={"A": "b"},
)


@asynccontextmanager
async def client(folder: Path) -> AsyncIterator[tuple[Api, FakeFirecracker]]:
    async with fake_firecracker(folder) as fake, connected(fake.connect, lambda: False) as api:
        yield api, fake


@pytest.mark.anyio
async def test_every_request_fits_the_description(tmp_path: Path) -> None:
    async with client(tmp_path) as (api, fake):
        for path, body in configuration(CONFIG, Rates(disk_bytes_s=1 << 20, network_bytes_s=1 << 20)):
            await api.put(path, body)
        await api.start()
        await api.pause()
        await api.save(saving())
        await api.resume()
        await api.flush_metrics()
        assert (await api.describe()).vmm_version == "1.16.1"
    folder = tmp_path / "another"
    folder.mkdir()
    async with client(folder) as (api, fake):
        await api.put(*console())
        await api.load(loading(CONFIG))
        overrides = fake.asked[-1].body["network_overrides"]
        assert overrides == [{"iface_id": "eth0", "host_dev_name": "tap0"}]


def test_drives_are_attached_in_their_order_and_without_limits_unless_asked() -> None:
    bodies = [msgspec.to_builtins(body) for path, body in configuration(CONFIG, Rates()) if path.startswith("/drives")]
    assert [(body["drive_id"], body["is_read_only"]) for body in bodies] == [("drive0", True), ("drive1", False)]
    assert all("rate_limiter" not in body for body in bodies)


def test_the_agents_arguments_come_last_on_the_command_line() -> None:
    line = boot_arguments(CONFIG)
    assert line.endswith("A=b -- --init --channel vsock:1024 --nonce 00")


def test_the_described_shapes_refuse_what_does_not_fit() -> None:
    assert fault_in("Vm", {"state": "Gone"}, "vm") is not None
    assert fault_in("Vm", {"state": "Paused", "more": 1}, "vm") is not None
    assert fault_in("Vsock", {"uds_path": "v"}, "vsock") is not None
    assert fault_in("Vsock", {"uds_path": "v", "guest_cid": 2}, "vsock") is not None


@pytest.mark.anyio
async def test_a_refusal_carries_firecrackers_own_text(tmp_path: Path) -> None:
    async with client(tmp_path) as (api, fake):
        fake.replies = [reply(400, b'{"fault_message":"The kernel file\\ncannot be opened: No such file"}')]
        with pytest.raises(ApiError, match=r"PUT /actions: The kernel file cannot be opened: No such file") as caught:
            await api.start()
        assert caught.value.status == 400
        # A refusal is an answer like any other, and the connection goes on.
        await api.pause()


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 20", "closed the connection"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 204 \r\nX: " + b"a" * 100_000 + b"\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 \r\nContent-Length: 99999999999\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 \r\nContent-Length: -1\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", "not HTTP"),
    ],
)
@pytest.mark.anyio
async def test_a_broken_answer_is_an_error_and_the_connection_is_not_used_again(
    tmp_path: Path, sent: bytes, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "ANSWER_TIMEOUT_S", 5)
    async with client(tmp_path) as (api, fake):
        fake.replies = [sent]
        fake.closes_after = 1
        with pytest.raises(ApiError, match=told):
            await api.start()
        with pytest.raises(ApiError, match=told):
            await api.pause()
        assert len(fake.asked) == 1


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"id":"x"}', b"\xff\xfe", b""])
@pytest.mark.anyio
async def test_wrong_json_is_an_error(tmp_path: Path, body: bytes) -> None:
    async with client(tmp_path) as (api, fake):
        fake.replies = [reply(200, body)]
        with pytest.raises(ApiError, match="not what its description says"):
            await api.describe()


@pytest.mark.anyio
async def test_a_slow_answer_is_given_up_and_never_taken_for_a_later_one(tmp_path: Path) -> None:
    async with client(tmp_path) as (api, fake):
        fake.delay_s = 0.3
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await api.pause()
        with pytest.raises(ApiError, match="given up"):
            await api.resume()
        assert [asked.body for asked in fake.asked] == [{"state": "Paused"}]


@pytest.mark.anyio
async def test_an_answer_announced_by_100_continue_is_waited_for(tmp_path: Path) -> None:
    async with client(tmp_path) as (api, fake):
        fake.replies = [b"HTTP/1.1 100 Continue\r\n\r\n" + reply(204)]
        await api.put("/vm", Vm(state="Paused"))


@pytest.mark.anyio
async def test_connecting_ends_when_firecracker_has_ended(tmp_path: Path) -> None:
    fake = FakeFirecracker(tmp_path / "nobody")
    with pytest.raises(ApiError, match="ended"):
        async with asyncio.timeout(5), connected(fake.connect, lambda: True):
            pass
