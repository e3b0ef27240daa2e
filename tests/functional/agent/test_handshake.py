"""What the agent says first, and what it makes of a host that does not keep to the protocol."""

from __future__ import annotations

import os
import pty
import subprocess
import tty
from collections.abc import Callable
from pathlib import Path

import pytest

from caisson.sandbox.protocol import (
    FROM_GUEST,
    FROM_HOST,
    MAX_PAYLOAD,
    VERSION,
    Fault,
    Frame,
    FrameDecoder,
    FrameType,
    Hello,
    Start,
    Tag,
    encode_fields,
    encode_frame,
)
from tests.helpers.guest import NONCE, PATIENCE_S, Guest, Launched

Launch = Callable[..., Launched]


def test_the_first_frame_is_hello_with_version_and_nonce(launch: Launch) -> None:
    guest = launch().guest
    assert Hello.decode(guest.expect(FrameType.HELLO).payload) == Hello(VERSION, NONCE, ("credit",))
    guest.expect(FrameType.READY)


def test_hello_begins_with_the_bytes_a_host_looks_for(launch: Launch) -> None:
    payload = launch().guest.expect(FrameType.HELLO).payload
    assert payload.startswith(encode_fields([(Tag.VERSION, VERSION), (Tag.NONCE, NONCE)]))


def test_pong_repeats_the_ping(guest: Guest) -> None:
    for payload in (b"", b"x", bytes(64)):
        guest.send(FrameType.PING, payload)
        assert guest.expect(FrameType.PONG).payload == payload


def test_frames_may_come_byte_by_byte(guest: Guest) -> None:
    for byte in encode_frame(FrameType.PING, b"slowly") + encode_frame(FrameType.PING, b"again"):
        guest.send_bytes(bytes([byte]))
    assert [guest.read().payload, guest.read().payload] == [b"slowly", b"again"]


def test_the_largest_frame_is_taken(guest: Guest) -> None:
    argument = "x" * 100_000
    fill = ["y" * (MAX_PAYLOAD - len(Start(argv=("/bin/sh", "-c", "echo ${#0}", argument)).encode()) - 5)]
    payload = Start(argv=("/bin/sh", "-c", "echo ${#0}", argument), args=tuple(fill)).encode()
    assert len(payload) == MAX_PAYLOAD
    guest.send(FrameType.START, payload, stream=1)
    assert guest.finish(1)[0].stdout == b"100000\n"


def refused(launched: Launched) -> Fault:
    """The last frame, an ERROR `protocol` about the sandbox, after which the agent ended."""
    last = launched.guest.rest()[-1]
    assert (last.type, last.stream) == (FrameType.ERROR, 0)
    assert launched.process.wait(PATIENCE_S) == 1
    return Fault.decode(last.payload)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xff\xff\xff\x43\0\0\0\x01", id="the greatest length there is"),
        pytest.param((MAX_PAYLOAD + 1).to_bytes(4, "big") + b"\x43\0\0\0\x01", id="one byte more than allowed"),
        pytest.param(b"\0\0\0\0\x47\0\0\0\x01", id="a type nobody knows"),
        *[
            pytest.param(encode_frame(type), id=f"{type.name} is not the host's")
            for type in sorted(FROM_GUEST - FROM_HOST)
        ],
        *[
            pytest.param(encode_frame(type), id=f"{type.name} on stream 0")
            for type in [*sorted(FROM_HOST - FROM_GUEST - {FrameType.RENEW}), FrameType.CREDIT]
        ],
        pytest.param(encode_frame(FrameType.PING, bytes(65)), id="a PING that is too long"),
        pytest.param(encode_frame(FrameType.START, b"\x10\0\0\0\x09a", stream=1), id="a field past its message"),
        pytest.param(encode_frame(FrameType.START, b"\x10\0", stream=1), id="half a field header"),
        pytest.param(encode_frame(FrameType.START, stream=1), id="a START of nothing"),
        pytest.param(
            encode_frame(FrameType.START, Start(argv=("true",), entrypoint="x").encode(), stream=1),
            id="a START of two things",
        ),
        pytest.param(
            encode_frame(FrameType.START, encode_fields([(Tag.ARGV, b"a\0b")]), stream=1), id="a NUL in an argument"
        ),
        pytest.param(
            encode_frame(FrameType.START, encode_fields([(Tag.ARGV, "a"), (Tag.LIMIT_PIDS, b"1")]), stream=1),
            id="an integer of one byte",
        ),
        pytest.param(
            encode_frame(FrameType.START, encode_fields([(Tag.ARGV, "a"), (Tag.CWD, "a"), (Tag.CWD, "a")]), stream=1),
            id="a single field twice",
        ),
        pytest.param(encode_frame(FrameType.FILE, encode_fields([(Tag.SIZE, 1)]), stream=1), id="a FILE without path"),
        pytest.param(encode_frame(FrameType.FILE_DATA, b"x", stream=1), id="data without a file"),
        pytest.param(
            encode_frame(FrameType.FILE, encode_fields([(Tag.PATH, "a"), (Tag.SIZE, 1)]), stream=1)
            + encode_frame(FrameType.FILE_DATA, b"xy", stream=1),
            id="more data than the file has",
        ),
        pytest.param(
            encode_frame(FrameType.FILE, encode_fields([(Tag.PATH, "a"), (Tag.SIZE, 1)]), stream=1)
            + encode_frame(FrameType.START, Start(argv=("true",)).encode(), stream=1),
            id="START before the end of a file",
        ),
        pytest.param(
            encode_frame(FrameType.START, Start(argv=("sleep", "60")).encode(), stream=1) * 2, id="START twice"
        ),
        pytest.param(
            encode_frame(FrameType.START, Start(argv=("sleep", "60")).encode(), stream=1)
            + encode_frame(FrameType.STDIN, bytes(65_537), stream=1),
            id="more input than there is credit for",
        ),
        pytest.param(
            encode_frame(FrameType.START, Start(argv=("sleep", "60")).encode(), stream=1)
            + encode_frame(FrameType.INPUT, b"x", stream=1),
            id="INPUT for a program",
        ),
        pytest.param(
            encode_frame(FrameType.START, Start(argv=("sleep", "60")).encode(), stream=1)
            + encode_frame(FrameType.STDIN, stream=1)
            + encode_frame(FrameType.STDIN, b"x", stream=1),
            id="input after its end",
        ),
        pytest.param(encode_frame(FrameType.SIGNAL, encode_fields([(Tag.SIGNAL, 65)]), stream=1), id="signal 65"),
        pytest.param(encode_frame(FrameType.CREDIT, stream=1), id="CREDIT of nothing"),
        pytest.param(
            encode_frame(FrameType.START, Start(argv=("sleep", "60")).encode(), stream=1)
            + encode_frame(FrameType.CREDIT, encode_fields([(Tag.SIZE, 2**63)]), stream=1),
            id="credit without end",
        ),
        pytest.param(encode_frame(FrameType.RENEW), id="RENEW without nonce"),
    ],
)
def test_a_host_that_breaks_the_protocol_is_told_so_and_the_sandbox_ends(launch: Launch, data: bytes) -> None:
    launched = launch()
    launched.guest.shake_hands()
    launched.guest.send_bytes(data)
    assert refused(launched).kind == "protocol"


def test_too_many_processes_at_once_are_refused(launch: Launch) -> None:
    launched = launch()
    launched.guest.shake_hands()
    for stream in range(1, 130):
        launched.guest.send_file("same", stream=stream)
    assert refused(launched).kind == "protocol"


@pytest.mark.parametrize("type", [FrameType.STDIN, FrameType.SIGNAL, FrameType.CREDIT])
def test_frames_for_a_stream_that_is_over_or_never_was_are_ignored(guest: Guest, type: FrameType) -> None:
    payloads = {
        FrameType.STDIN: b"late",
        FrameType.SIGNAL: encode_fields([(Tag.SIGNAL, 9)]),
        FrameType.CREDIT: encode_fields([(Tag.SIZE, 1)]),
    }
    guest.run("/bin/true", stream=1)
    for stream in (1, 2):
        guest.send(type, payloads[type], stream=stream)
    guest.ping()


def test_the_agent_and_all_it_started_end_when_the_host_closes_the_channel(launch: Launch, work: Path) -> None:
    launched = launch()
    launched.guest.shake_hands()
    launched.guest.start("/bin/sh", "-c", "setsid sleep 1000 & echo $$; exec sleep 1000", stream=1)
    pid = int(launched.guest.read_until(FrameType.STDOUT, stream=1).payload)
    launched.guest.connection.close()
    assert launched.process.wait(PATIENCE_S) == 0
    assert not Path(f"/proc/{pid}").exists()


def test_sigterm_ends_the_agent_in_order(launch: Launch) -> None:
    launched = launch()
    launched.guest.shake_hands()
    launched.guest.start("sleep", "1000", stream=1)
    launched.guest.expect(FrameType.STARTED, stream=1)
    launched.process.terminate()
    assert launched.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--nonce is missing"),
        (["--nonce", "abc"], "abc is no value"),
        (["--nonce", NONCE.hex(), "--channel", "tcp:1"], "tcp:1 is no value"),
        (["--nonce", NONCE.hex(), "--channel", "vsock:x"], "vsock:x is no value"),
        (["--nonce", NONCE.hex(), "--user", "root"], "root is no value"),
        (["--nonce", NONCE.hex(), "--work", "relative"], "relative is no value"),
        (["--nonce", NONCE.hex(), "--work", "/dev/null/none"], "Not a directory"),
        (["--nonce", NONCE.hex(), "more"], "unexpected argument more"),
        (["--nonce", NONCE.hex(), "--what"], "what"),
    ],
)
def test_a_wrong_command_line_is_explained(agent: Path, arguments: list[str], complaint: str) -> None:
    done = subprocess.run([agent, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert complaint in done.stderr


def test_a_character_device_serves_as_the_channel(agent: Path, work: Path) -> None:
    """A pseudo-terminal stands in for a virtio port."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    command: list[str | Path] = [agent, "--nonce", NONCE.hex(), "--work", work]
    command += ["--channel", f"device:{os.ttyname(theirs)}"]
    decoder, frames = FrameDecoder(), list[Frame]()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            while len(frames) < 2:
                frames += decoder.feed(os.read(ours, 4096))
            os.write(ours, encode_frame(FrameType.PING, b"here"))
            while len(frames) < 3:
                frames += decoder.feed(os.read(ours, 4096))
        finally:
            process.terminate()
            os.close(ours)
            os.close(theirs)
        assert process.wait(PATIENCE_S) == 0
    assert [frame.type for frame in frames] == [FrameType.HELLO, FrameType.READY, FrameType.PONG]
