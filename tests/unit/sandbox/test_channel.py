"""The host's side of the channel, against guests of every kind."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from caisson.sandbox.channel import HIGH_WATER_BYTES, Channel, ChannelClosed
from caisson.sandbox.protocol import VERSION, FrameType, Hello, ProtocolError, encode_frame

NONCE = bytes(range(16))
HELLO = encode_frame(FrameType.HELLO, Hello(VERSION, NONCE).encode())
READY = encode_frame(FrameType.READY)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Channel, socket.socket]]:
    """A channel over a socket pair, and the guest's end."""
    ours, theirs = socket.socketpair()
    fd = ours.detach()
    channel = Channel(fd, os.dup(fd))
    try:
        yield channel, theirs
    finally:
        channel.close()
        theirs.close()


def test_a_handshake_with_the_right_nonce_succeeds() -> None:
    """HELLO, then READY."""

    async def main() -> Hello:
        async with connected() as (channel, guest):
            guest.sendall(HELLO + READY)
            return await channel.handshake(NONCE, 5)

    assert asyncio.run(main()) == Hello(VERSION, NONCE)


@pytest.mark.parametrize(
    "said",
    [
        encode_frame(FrameType.HELLO, Hello(VERSION, bytes(16)).encode()),
        encode_frame(FrameType.HELLO, Hello(VERSION + 1, NONCE).encode()),
        encode_frame(FrameType.HELLO, b""),
        READY,
        b"\xff" * 9,
        HELLO + HELLO,
    ],
)
def test_any_other_beginning_is_a_fault(said: bytes) -> None:
    """Wrong nonce, wrong version, wrong order, garbage."""

    async def main() -> None:
        async with connected() as (channel, guest):
            guest.sendall(said)
            await channel.handshake(NONCE, 5)

    with pytest.raises(ProtocolError):
        asyncio.run(main())


def test_a_guest_that_says_nothing_is_given_up() -> None:
    """The handshake has a time limit."""

    async def main() -> None:
        async with connected() as (channel, _):
            await channel.handshake(NONCE, 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_a_guest_that_goes_away_is_noticed() -> None:
    """By whoever waits for it, after what it said before."""

    async def main() -> list[bytes]:
        async with connected() as (channel, guest):
            guest.sendall(encode_frame(FrameType.STDOUT, b"last words"))
            guest.close()
            frames = await channel.receive()
            with pytest.raises(ChannelClosed):
                await channel.receive()
            return [frame.payload for frame in frames]

    assert asyncio.run(main()) == [b"last words"]


def test_good_frames_before_garbage_are_kept() -> None:
    """What arrived in the same read as the garbage is not lost."""

    async def main() -> list[bytes]:
        async with connected() as (channel, guest):
            guest.sendall(encode_frame(FrameType.STDOUT, b"good") + b"\xff" * 9)
            frames = await channel.receive()
            with pytest.raises(ProtocolError):
                await channel.receive()
            return [frame.payload for frame in frames]

    assert asyncio.run(main()) == [b"good"]


def test_frames_may_arrive_byte_by_byte() -> None:
    """However the stream is cut."""

    async def main() -> list[bytes]:
        async with connected() as (channel, guest):
            for byte in encode_frame(FrameType.STDOUT, b"abc"):
                guest.sendall(bytes([byte]))
                await asyncio.sleep(0)
            return [frame.payload for frame in await channel.receive()]

    assert asyncio.run(main()) == [b"abc"]


def test_a_reader_that_is_slow_holds_the_guest_back() -> None:
    """What nobody has taken yet is bounded, and nothing is lost once it is taken."""
    frame = encode_frame(FrameType.STDOUT, b"x" * 50_000)
    count = 200

    async def main() -> int:
        async with connected() as (channel, guest):
            guest.setblocking(False)
            loop = asyncio.get_running_loop()
            sending = loop.create_task(loop.sock_sendall(guest, frame * count))
            while not channel._paused:  # noqa: ASYNC110 - that it pauses is what is tested, and it tells nobody
                await asyncio.sleep(0)
            assert channel._received_bytes < 2 * HIGH_WATER_BYTES
            assert not sending.done()
            got = 0
            while got < count:
                got += len(await channel.receive())
            await sending
            return got

    assert asyncio.run(main()) == count


def test_sending_waits_until_the_guest_reads() -> None:
    """More than the kernel takes at once is sent as the guest reads it."""
    data = encode_frame(FrameType.INPUT, b"i" * 1_000_000)

    async def main() -> int:
        async with connected() as (channel, guest):
            guest.setblocking(False)
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(channel.send(data))
                await asyncio.sleep(0)
                assert not sending.done()
                got = 0
                while got < len(data):
                    got += len(await asyncio.get_running_loop().sock_recv(guest, 65_536))
            return got

    assert asyncio.run(main()) == len(data)


def test_sending_to_a_guest_that_is_gone_fails() -> None:
    """With the channel's own error."""

    async def main() -> None:
        async with connected() as (channel, guest):
            guest.close()
            for _ in range(3):
                await channel.send(READY)
                await asyncio.sleep(0.01)

    with pytest.raises(ChannelClosed):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "alive"),
    [
        (encode_frame(FrameType.PONG, b"ping"), True),
        (encode_frame(FrameType.PONG, b"other"), False),
        (encode_frame(FrameType.RESULT, b"1"), False),
        (b"", False),
    ],
)
def test_a_ping_tells_whether_the_guest_is_well(answer: bytes, alive: bool) -> None:
    """Only the right answer, in time, counts."""

    async def main() -> bool:
        async with connected() as (channel, guest):
            guest.sendall(answer)
            return await channel.ping(0.1)

    assert asyncio.run(main()) is alive


def test_plain_pipes_arrive_in_order_with_the_frames() -> None:
    """What a runtime writes past its harness becomes frames, and their end is told when both have ended."""

    async def main() -> list[tuple[FrameType, bytes]]:
        async with connected() as (channel, guest):
            read_fd, write_fd = os.pipe()
            channel.attach_plain(read_fd, FrameType.STDERR)
            os.write(write_fd, b"fatal")
            got = await channel.receive()
            guest.close()
            with pytest.raises(ChannelClosed):
                await channel.receive()
            os.write(write_fd, b" error")
            got += await channel.remainder()
            os.close(write_fd)
            assert await channel.remainder() == []
            return [(frame.type, frame.payload) for frame in got]

    assert asyncio.run(main()) == [(FrameType.STDERR, b"fatal"), (FrameType.STDERR, b" error")]
