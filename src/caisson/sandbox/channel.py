"""The host's side of the framed channel, over any pair of descriptors: pipes, sockets, character devices.

Everything is bounded: one read at a time, no more than `HIGH_WATER_BYTES` of frames that nobody has taken (reading then
pauses, which in the end makes the guest's writes block), and every wait of a handshake has a time limit.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from caisson.sandbox.protocol import VERSION, Frame, FrameDecoder, FrameType, Hello, ProtocolError, encode_frame

READ_BYTES = 64 * 1024
HIGH_WATER_BYTES = 1 << 20
SAID_BYTES = 4096


class ChannelClosed(Exception):
    """The other side closed the channel, or died."""


@dataclass(slots=True)
class _Source:
    """One descriptor that is read: the framed stream, or a plain pipe beside it."""

    fd: int
    take: Callable[[bytes], list[Frame]]


class Channel:
    """One sandbox's channel. Owns its descriptors; needs a running loop."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        """`read_fd` and `write_fd` may be the same socket. Both become non-blocking."""
        self._loop = asyncio.get_running_loop()
        self._framed = _Source(read_fd, FrameDecoder().feed)
        self._sources = [self._framed]
        self._write_fd = write_fd
        self._received: deque[Frame] = deque()
        self._received_bytes = 0
        self._paused = False
        self._heard_at = self._loop.time()
        self._failure: ProtocolError | ChannelClosed | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._unsent = bytearray()
        self._unread: ChannelClosed | None = None
        self.said = b""
        """The last of what came in plain pipes during a handshake: word from the runtime itself while it started."""
        self._drained: asyncio.Future[None] | None = None
        os.set_blocking(write_fd, False)
        self._watch(self._framed)

    def attach_plain(self, fd: int, type: FrameType) -> None:
        """Also read a plain pipe, which becomes the channel's: its bytes arrive as frames of that type."""
        source = _Source(fd, lambda data: [Frame(type, 0, data)])
        self._sources.append(source)
        self._watch(source)

    async def handshake(self, nonce: bytes, timeout_s: float) -> Hello:
        """Wait for HELLO with this nonce, then READY. Raises TimeoutError, ProtocolError or ChannelClosed."""
        async with asyncio.timeout(timeout_s):
            hello = Hello.decode(await self._expect(FrameType.HELLO))
            if not hmac.compare_digest(hello.nonce, nonce):
                raise ProtocolError("HELLO with another nonce than this sandbox was given")
            if hello.version != VERSION:
                raise ProtocolError(f"the guest speaks version {hello.version} of the protocol, not {VERSION}")
            await self._expect(FrameType.READY)
        return hello

    async def ping(self, timeout_s: float) -> bool:
        """True if the guest answers in time. Only while it waits for work: other frames would be an error."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.send(encode_frame(FrameType.PING, b"ping"))
                return await self._expect(FrameType.PONG) == b"ping"
        except (TimeoutError, ProtocolError, ChannelClosed):
            return False

    async def send(self, data: bytes) -> None:
        """Write encoded frames, and return when the kernel has taken them. Raises ChannelClosed if nobody reads."""
        self._unsent += data
        self._flush()
        if self._unread is not None:
            raise self._unread
        if self._unsent:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def post(self, data: bytes) -> None:
        """Write encoded frames as soon as the kernel takes them. For what flow control bounds. Raises ChannelClosed."""
        if self._write_fd < 0:
            raise ChannelClosed("closed on this side")
        self._unsent += data
        self._flush()
        if self._unread is not None:
            raise self._unread

    @property
    def silence_s(self) -> float:
        """How long nothing arrived; 0 while nothing is read, because nobody takes what did."""
        return 0.0 if self._paused else self._loop.time() - self._heard_at

    @property
    def has_received(self) -> bool:
        """True if `receive` would not wait, for frames or for the end."""
        return bool(self._received) or self._failure is not None

    async def receive(self) -> list[Frame]:
        """What has arrived, at least one frame. Raises ProtocolError or ChannelClosed when the framed stream ended."""
        while not self._received:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        return self._take()

    async def remainder(self) -> list[Frame]:
        """After the framed stream ended: what the plain pipes still bring; empty when they have ended too."""
        while not self._received and len(self._sources) > (self._framed in self._sources):
            await self._wait()
        return self._take()

    def arrived(self) -> list[Frame]:
        """What has arrived in the plain pipes and can be read without waiting; for when the end is known already."""
        for source in [each for each in self._sources if each is not self._framed]:
            self._read(source)
        return self._take()

    def close(self) -> None:
        """Close every descriptor. Idempotent."""
        for source in list(self._sources):
            self._drop(source)
        if self._write_fd >= 0:
            self._loop.remove_writer(self._write_fd)
            os.close(self._write_fd)
            self._write_fd = -1
        self._fail(ChannelClosed("closed on this side"))

    async def _expect(self, type: FrameType) -> bytes:
        while not self._received:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        frame = self._received.popleft()
        self._received_bytes -= len(frame.payload)
        if frame.type in (FrameType.STDOUT, FrameType.STDERR):
            # `receive` has the program's output only after START.
            self.said = (self.said + frame.payload)[-SAID_BYTES:]
            return await self._expect(type)
        if frame.type is not type:
            raise ProtocolError(f"{frame.type.name} where {type.name} was due")
        return frame.payload

    def _take(self) -> list[Frame]:
        frames = list(self._received)
        self._received.clear()
        self._received_bytes = 0
        if self._paused:
            self._paused = False
            self._heard_at = self._loop.time()
            for source in self._sources:
                self._loop.add_reader(source.fd, self._read, source)
        return frames

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _watch(self, source: _Source) -> None:
        os.set_blocking(source.fd, False)
        self._loop.add_reader(source.fd, self._read, source)

    def _drop(self, source: _Source) -> None:
        self._loop.remove_reader(source.fd)
        self._sources.remove(source)
        if source.fd == self._write_fd:
            self._loop.remove_writer(source.fd)
            self._write_fd = -1
        os.close(source.fd)

    def _read(self, source: _Source) -> None:
        try:
            data = os.read(source.fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(source)
            if source is self._framed:
                self._fail(ChannelClosed("the guest closed the channel"))
            self._wake()
            return
        self._heard_at = self._loop.time()
        try:
            frames = source.take(data)
        except ProtocolError as error:
            self._received.extend(error.before)
            self._drop(source)
            self._fail(error)
            return
        if frames:
            self._received.extend(frames)
            self._received_bytes += len(data)
            if self._received_bytes > HIGH_WATER_BYTES:
                self._paused = True
                for each in self._sources:
                    self._loop.remove_reader(each.fd)
            self._wake()

    def _fail(self, failure: ProtocolError | ChannelClosed) -> None:
        self._failure = self._failure or failure
        self._wake()
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ChannelClosed(str(failure)))

    def _flush(self) -> None:
        try:
            while self._unsent:
                written = os.write(self._write_fd, self._unsent)
                del self._unsent[:written]
        except BlockingIOError:
            self._loop.add_writer(self._write_fd, self._flush)
            return
        except OSError as error:
            self._unsent.clear()
            self._unread = ChannelClosed(f"the guest does not read: {error.strerror}")
            self._fail(self._unread)
        self._loop.remove_writer(self._write_fd)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
