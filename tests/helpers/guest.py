"""A host's side of the channel, to drive a real guest agent with."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caisson.sandbox.protocol import (
    CONTROL_STREAM,
    Exit,
    Fault,
    Field,
    Fields,
    Frame,
    FrameDecoder,
    FrameType,
    Start,
    Tag,
    encode_fields,
    encode_frame,
)

NONCE = bytes(range(16))
PATIENCE_S = 30
OUTPUT = {FrameType.STDOUT, FrameType.STDERR, FrameType.RESULT}


@dataclass
class Ended:
    """All that was heard of a stream, up to its EXIT or to the ERROR that stands for it."""

    stdout: bytes = b""
    stderr: bytes = b""
    result: bytes = b""
    exit: Exit | None = None
    errors: list[Fault] = field(default_factory=list)
    exceptions: list[Fault] = field(default_factory=list)
    types: list[FrameType] = field(default_factory=list)

    def hear(self, frame: Frame) -> bool:
        """Take note of a frame; True if it was the last one."""
        self.types.append(frame.type)
        match frame.type:
            case FrameType.STDOUT:
                self.stdout += frame.payload
            case FrameType.STDERR:
                self.stderr += frame.payload
            case FrameType.RESULT:
                self.result += frame.payload
            case FrameType.EXCEPTION:
                self.exceptions.append(Fault.decode(frame.payload))
            case FrameType.ERROR:
                self.errors.append(Fault.decode(frame.payload))
                return FrameType.STARTED not in self.types
            case FrameType.EXIT:
                self.exit = Exit.decode(frame.payload)
                return True
        return False

    @property
    def error(self) -> Fault:
        """The one error there was."""
        assert len(self.errors) == 1, self
        return self.errors[0]


class Guest:
    """A connection to an agent. Frames are read when a test asks for them, and never by themselves."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._decoder = FrameDecoder()
        self._waiting: deque[Frame] = deque()

    def send_bytes(self, data: bytes) -> None:
        """Any bytes, also those no host should send."""
        self.connection.settimeout(PATIENCE_S)
        self.connection.sendall(data)

    def send(self, type: FrameType, payload: bytes = b"", *, stream: int = CONTROL_STREAM) -> None:
        """One frame."""
        self.send_bytes(encode_frame(type, payload, stream=stream))

    def send_fields(self, type: FrameType, fields: Iterable[Field], *, stream: int = CONTROL_STREAM) -> None:
        """One message."""
        self.send(type, encode_fields(fields), stream=stream)

    def send_file(self, path: str, data: bytes = b"", *, stream: int, mode: int = 0o644) -> None:
        """A file, in pieces that fit into frames."""
        self.send_fields(FrameType.FILE, [(Tag.PATH, path), (Tag.MODE, mode), (Tag.SIZE, len(data))], stream=stream)
        for offset in range(0, len(data), 65_536):
            self.send(FrameType.FILE_DATA, data[offset : offset + 65_536], stream=stream)

    def start(self, *argv: str, stream: int, **members: Any) -> None:
        """START of a program."""
        self.send(FrameType.START, Start(argv=argv, **members).encode(), stream=stream)

    def signal(self, number: int, *, stream: int) -> None:
        """SIGNAL to a stream."""
        self.send_fields(FrameType.SIGNAL, [(Tag.SIGNAL, number)], stream=stream)

    def credit(self, count: int, *, stream: int) -> None:
        """CREDIT for a stream."""
        self.send_fields(FrameType.CREDIT, [(Tag.SIZE, count)], stream=stream)

    def read(self, timeout_s: float = PATIENCE_S) -> Frame:
        """The next frame. Raises TimeoutError if none comes, EOFError if none can."""
        deadline = time.monotonic() + timeout_s
        while not self._waiting:
            self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            data = self.connection.recv(1 << 16)
            if not data:
                raise EOFError
            self._waiting += self._decoder.feed(data)
        return self._waiting.popleft()

    def expect(self, type: FrameType, *, stream: int = CONTROL_STREAM) -> Frame:
        """The next frame, which must be this one."""
        frame = self.read()
        assert (frame.type, frame.stream) == (type, stream), described(frame)
        return frame

    def read_until(self, type: FrameType, *, stream: int = CONTROL_STREAM) -> Frame:
        """The next frame of this type and stream; those before it are forgotten."""
        while (frame := self.read())[:2] != (type, stream):
            pass
        return frame

    def finish(self, *streams: int, grant: bool = True) -> list[Ended]:
        """Everything about these streams until each has ended; credit is given back as it is used."""
        ended = {stream: Ended() for stream in streams}
        left = set(streams)
        while left:
            frame = self.read()
            if frame.stream in ended:
                if ended[frame.stream].hear(frame):
                    left.discard(frame.stream)
                if grant and frame.type in OUTPUT and frame.payload:
                    self.credit(len(frame.payload), stream=frame.stream)
        return list(ended.values())

    def run(self, *argv: str, stream: int, stdin: bytes = b"", **members: Any) -> Ended:
        """A program from START to EXIT, with this on its standard input."""
        self.start(*argv, stream=stream, **members)
        if stdin:
            self.send(FrameType.STDIN, stdin, stream=stream)
        self.send(FrameType.STDIN, stream=stream)
        return self.finish(stream)[0]

    def ping(self, payload: bytes = b"are you there?") -> None:
        """Ask for a sign of life, and wait for it; what else comes is forgotten."""
        self.send(FrameType.PING, payload)
        assert self.read_until(FrameType.PONG).payload == payload

    def shake_hands(self) -> None:
        """Read HELLO and READY."""
        self.expect(FrameType.HELLO)
        self.expect(FrameType.READY)

    def rest(self) -> list[Frame]:
        """All frames until the agent closes the channel."""
        frames = []
        with suppress(EOFError, ConnectionResetError):
            while True:
                frames.append(self.read())
        return frames


def described(frame: Frame) -> str:
    """A frame for people."""
    if frame.type in {FrameType.ERROR, FrameType.EXCEPTION}:
        return f"{frame.type.name} on stream {frame.stream}: {Fault.decode(frame.payload)}"
    return f"{frame.type.name} on stream {frame.stream}: {frame.payload[:200]!r}"


def integer(frame: Frame, tag: Tag) -> int:
    """A field that must be there."""
    value = Fields(frame.payload).integer(tag)
    assert value is not None, described(frame)
    return value


@dataclass(frozen=True, slots=True)
class Launched:
    """An agent, and the connection to it."""

    process: subprocess.Popen[bytes]
    guest: Guest


@contextmanager
def launched(
    agent: Path,
    *arguments: str | Path,
    wrapper: Sequence[str | Path] = (),
    prepare: Callable[[], object] | None = None,
) -> Iterator[Launched]:
    """An agent whose stdin and stdout are one end of a socket pair; it is gone when the context is left."""
    ours, theirs = socket.socketpair()
    command: list[str | Path] = [*wrapper, agent, "--nonce", NONCE.hex(), *arguments]
    channel = theirs.fileno()
    with ours, subprocess.Popen(command, stdin=channel, stdout=channel, preexec_fn=prepare) as process:
        theirs.close()
        try:
            yield Launched(process, Guest(ours))
        finally:
            ours.close()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def is_root() -> bool:
    """True if the agent may change users."""
    return os.geteuid() == 0
