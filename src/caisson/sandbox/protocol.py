"""The channel protocol: frames and messages between the host and what runs inside a sandbox.

The byte layout is written down in `docs/reference/channel-protocol.md`; `tests/vectors/channel.json` holds vectors that
every implementation (this one, the guest agent, the Deno harness, the wasmtime worker) must read and write alike.
Nothing here trusts the sender: lengths, counts, types and text are checked, and a fault is a `ProtocolError`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

VERSION = 1
HEADER = struct.Struct(">IBI")
MAX_PAYLOAD = 1 << 20
"""Largest payload of one frame, in bytes, in either direction."""
MAX_FIELDS = 65_536
"""Most fields in one message; far above what `START` needs for every argument and variable."""
NONCE_BYTES = 16
MAX_PING = 64
"""Largest payload of PING and PONG, in bytes."""
OUTPUT_WINDOW = 1 << 18
"""Bytes of STDOUT, STDERR and RESULT a guest with feature `credit` may send on a stream before the first CREDIT."""
INPUT_WINDOW = 1 << 16
"""Bytes of INPUT and STDIN a host may send such a guest on a stream before the first CREDIT."""
CONTROL_STREAM = 0


class ProtocolError(Exception):
    """The peer sent something the protocol does not allow. `before` holds the good frames that came just before it."""

    before: tuple[Frame, ...] = ()


class FrameType(IntEnum):
    """What a frame means; values below 0x40 come from the guest, the others from the host, PING to CREDIT from both."""

    HELLO = 0x01
    READY = 0x02
    RENEWED = 0x03
    STARTED = 0x04
    STDOUT = 0x10
    STDERR = 0x11
    RESULT = 0x12
    EXCEPTION = 0x13
    EXIT = 0x14
    ERROR = 0x1F

    FILE = 0x40
    FILE_DATA = 0x41
    START = 0x42
    STDIN = 0x43
    SIGNAL = 0x44
    RENEW = 0x45
    INPUT = 0x46

    PING = 0x70
    PONG = 0x71
    CREDIT = 0x72


class Tag(IntEnum):
    """Names of the fields in a message."""

    VERSION = 1
    NONCE = 2
    FEATURE = 3
    RUNTIME_VERSION = 4
    ARGV = 16
    ENV = 17
    CWD = 18
    ENTRYPOINT = 19
    ARG = 20
    INPUT = 21
    OUTPUT_PATH = 22
    LIMIT_PIDS = 24
    LIMIT_NOFILE = 25
    LIMIT_FSIZE = 26
    LIMIT_OUTPUT = 27
    LIMIT_TIME_MS = 28
    LIMIT_MEMORY = 29
    LIMIT_DISK = 30
    PATH = 32
    MODE = 33
    SIZE = 34
    CODE = 48
    SIGNAL = 49
    CPU_US = 50
    PEAK_BYTES = 51
    OOM_KILLS = 52
    MESSAGE = 53
    TRACE = 54
    KIND = 55
    ENTROPY = 64
    CLOCK_NS = 65
    HOSTNAME = 66
    MACHINE_ID = 67
    KEEP = 68
    REHEARSE = 69


FROM_GUEST = frozenset(t for t in FrameType if t < 0x40 or t >= 0x70)
FROM_HOST = frozenset(t for t in FrameType if t >= 0x40)


class Frame(NamedTuple):
    """One frame: its type, the process it belongs to (0 is the sandbox itself) and its bytes."""

    type: FrameType
    stream: int
    payload: bytes


def encode_frame(type: FrameType, payload: bytes = b"", *, stream: int = CONTROL_STREAM) -> bytes:
    """The bytes of one frame. Raises ValueError if the payload exceeds `MAX_PAYLOAD`."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a frame carries at most {MAX_PAYLOAD} bytes, not {len(payload)}")
    return HEADER.pack(len(payload), type, stream) + payload


class FrameDecoder:
    """Turns bytes as they arrive from a guest into frames.

    Memory is bounded by one frame plus one read: a length above the limit is refused from its header alone.
    """

    def __init__(self, max_payload: int = MAX_PAYLOAD, accept: frozenset[FrameType] = FROM_GUEST) -> None:
        self._buffer = bytearray()
        self._max_payload = max_payload
        self._types = {int(t): t for t in accept}

    def feed(self, data: bytes | memoryview) -> list[Frame]:
        """Frames completed by `data`. Raises ProtocolError at the first frame that is not allowed."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        offset, end = 0, len(buffer)
        try:
            while end - offset >= HEADER.size:
                length, type_, stream = HEADER.unpack_from(buffer, offset)
                if length > self._max_payload:
                    raise ProtocolError(f"frame of {length} bytes exceeds the limit of {self._max_payload}")
                known = self._types.get(type_)
                if known is None:
                    raise ProtocolError(f"frame type 0x{type_:02x} is not known or not allowed from this side")
                start = offset + HEADER.size
                if end - start < length:
                    break
                offset = start + length
                frames.append(Frame(known, stream, bytes(buffer[start:offset])))
        except ProtocolError as error:
            error.before = tuple(frames)
            raise
        finally:
            del buffer[:offset]
        return frames

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._buffer)


_FIELD = struct.Struct(">BI")
Field = tuple[Tag, bytes | str | int]


def encode_fields(fields: Iterable[Field]) -> bytes:
    """A message payload. Integers travel as 8 bytes, text as UTF-8, a repeated tag is a list."""
    parts: list[bytes] = []
    for tag, value in fields:
        if isinstance(value, int):
            data = value.to_bytes(8, "big")
        elif isinstance(value, str):
            data = value.encode("utf-8", "surrogateescape")
        else:
            data = value
        parts.append(_FIELD.pack(tag, len(data)))
        parts.append(data)
    return b"".join(parts)


class Fields:
    """The fields of a received message. Every getter checks what it returns and raises ProtocolError otherwise."""

    def __init__(self, payload: bytes) -> None:
        self._values: dict[int, list[bytes]] = {}
        for count, (tag, value) in enumerate(_split_fields(payload)):
            if count >= MAX_FIELDS:
                raise ProtocolError(f"message with more than {MAX_FIELDS} fields")
            self._values.setdefault(tag, []).append(value)

    def blob(self, tag: Tag) -> bytes | None:
        """The field's bytes, or None where it is absent."""
        values = self._values.get(tag)
        if values is None:
            return None
        if len(values) > 1:
            raise ProtocolError(f"field {tag.name} given {len(values)} times")
        return values[0]

    def integer(self, tag: Tag) -> int | None:
        """The field as an unsigned 64-bit integer, or None."""
        value = self.blob(tag)
        if value is None:
            return None
        if len(value) != 8:
            raise ProtocolError(f"field {tag.name} is not an 8-byte integer")
        return int.from_bytes(value, "big")

    def text(self, tag: Tag) -> str | None:
        """The field as text, invalid UTF-8 replaced, or None."""
        value = self.blob(tag)
        return None if value is None else value.decode("utf-8", "replace")

    def texts(self, tag: Tag) -> list[str]:
        """Every value of a repeated field as text."""
        return [value.decode("utf-8", "replace") for value in self._values.get(tag, ())]


def _split_fields(payload: bytes) -> Iterator[tuple[int, bytes]]:
    offset, end = 0, len(payload)
    while offset < end:
        if end - offset < _FIELD.size:
            raise ProtocolError("message ends inside a field header")
        tag, length = _FIELD.unpack_from(payload, offset)
        offset += _FIELD.size
        if length > end - offset:
            raise ProtocolError(f"field {tag} of {length} bytes runs past its message")
        yield tag, payload[offset : offset + length]
        offset += length


@dataclass(frozen=True, slots=True)
class Hello:
    """The guest's first frame: which protocol it speaks, and the nonce it was booted with."""

    version: int
    nonce: bytes
    features: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The payload."""
        fields: list[Field] = [(Tag.VERSION, self.version), (Tag.NONCE, self.nonce)]
        fields += [(Tag.FEATURE, feature) for feature in self.features]
        return encode_fields(fields)

    @classmethod
    def decode(cls, payload: bytes) -> Hello:
        """From a payload; raises ProtocolError if it is not a HELLO."""
        fields = Fields(payload)
        version, nonce = fields.integer(Tag.VERSION), fields.blob(Tag.NONCE)
        if version is None or nonce is None:
            raise ProtocolError("HELLO without version or nonce")
        return cls(version, nonce, tuple(fields.texts(Tag.FEATURE)))


@dataclass(frozen=True, slots=True)
class Start:
    """Begin the workload: either a harness runs `entrypoint` with `input`, or the agent executes `argv`."""

    argv: tuple[str, ...] = ()
    entrypoint: str | None = None
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    """Each `NAME=value`."""
    cwd: str | None = None
    input: bytes | None = None
    """JSON text, if it fits into this message."""
    input_size: int | None = None
    """Otherwise: how many bytes of it follow in INPUT frames."""
    output_path: str | None = None
    """Where `$CAISSON_OUTPUT` points."""
    limit_pids: int | None = None
    limit_nofile: int | None = None
    limit_fsize: int | None = None
    limit_output: int | None = None
    limit_memory: int | None = None
    """In bytes."""
    limit_disk: int | None = None
    """In bytes, of all that the sandbox's writable layer holds."""
    limit_time_ms: int | None = None
    """After this long the guest may end the program itself; the host's own deadline comes first."""

    def encode(self) -> bytes:
        """The payload."""
        fields: list[Field] = [(Tag.ARGV, text) for text in self.argv]
        fields += [(Tag.ENV, text) for text in self.env]
        fields += [(Tag.ARG, text) for text in self.args]
        single = (
            (Tag.CWD, self.cwd),
            (Tag.ENTRYPOINT, self.entrypoint),
            (Tag.INPUT, self.input),
            (Tag.SIZE, self.input_size),
            (Tag.OUTPUT_PATH, self.output_path),
            (Tag.LIMIT_PIDS, self.limit_pids),
            (Tag.LIMIT_NOFILE, self.limit_nofile),
            (Tag.LIMIT_FSIZE, self.limit_fsize),
            (Tag.LIMIT_OUTPUT, self.limit_output),
            (Tag.LIMIT_TIME_MS, self.limit_time_ms),
            (Tag.LIMIT_MEMORY, self.limit_memory),
            (Tag.LIMIT_DISK, self.limit_disk),
        )
        fields += [(tag, value) for tag, value in single if value is not None]
        return encode_fields(fields)

    @classmethod
    def decode(cls, payload: bytes) -> Start:
        """From a payload; raises ProtocolError if it is not a START."""
        fields = Fields(payload)
        return cls(
            argv=tuple(fields.texts(Tag.ARGV)),
            entrypoint=fields.text(Tag.ENTRYPOINT),
            args=tuple(fields.texts(Tag.ARG)),
            env=tuple(fields.texts(Tag.ENV)),
            cwd=fields.text(Tag.CWD),
            input=fields.blob(Tag.INPUT),
            input_size=fields.integer(Tag.SIZE),
            output_path=fields.text(Tag.OUTPUT_PATH),
            limit_pids=fields.integer(Tag.LIMIT_PIDS),
            limit_nofile=fields.integer(Tag.LIMIT_NOFILE),
            limit_fsize=fields.integer(Tag.LIMIT_FSIZE),
            limit_output=fields.integer(Tag.LIMIT_OUTPUT),
            limit_time_ms=fields.integer(Tag.LIMIT_TIME_MS),
            limit_memory=fields.integer(Tag.LIMIT_MEMORY),
            limit_disk=fields.integer(Tag.LIMIT_DISK),
        )


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a process: its exit code or the signal that ended it, and what it used where the guest knows."""

    code: int | None = None
    signal: int | None = None
    cpu_us: int | None = None
    peak_bytes: int | None = None
    oom_kills: int | None = None

    def encode(self) -> bytes:
        """The payload."""
        known = (
            (Tag.CODE, self.code),
            (Tag.SIGNAL, self.signal),
            (Tag.CPU_US, self.cpu_us),
            (Tag.PEAK_BYTES, self.peak_bytes),
            (Tag.OOM_KILLS, self.oom_kills),
        )
        return encode_fields([(tag, value) for tag, value in known if value is not None])

    @classmethod
    def decode(cls, payload: bytes) -> Exit:
        """From a payload; raises ProtocolError unless it says exactly one of code (0 to 255) and signal (1 to 64)."""
        fields = Fields(payload)
        code, signal = fields.integer(Tag.CODE), fields.integer(Tag.SIGNAL)
        if (code is None) == (signal is None):
            raise ProtocolError("EXIT must say either a code or a signal")
        if (code is not None and code > 255) or (signal is not None and not 1 <= signal <= 64):
            raise ProtocolError("EXIT with an impossible code or signal")
        return cls(
            code,
            signal,
            fields.integer(Tag.CPU_US),
            fields.integer(Tag.PEAK_BYTES),
            fields.integer(Tag.OOM_KILLS),
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """Payload of EXCEPTION (an uncaught exception of the program) and of ERROR (the guest could not do its part).

    `kind` is, for EXCEPTION, the exception's own class or one of `invalid_code` and `disk_full`; for ERROR one of
    `bad_path`, `no_space`, `io`, `spawn`, `output_limit`, `protocol`.
    """

    message: str
    trace: str = ""
    kind: str = ""

    def encode(self) -> bytes:
        """The payload."""
        return encode_fields([(Tag.KIND, self.kind), (Tag.MESSAGE, self.message), (Tag.TRACE, self.trace)])

    @classmethod
    def decode(cls, payload: bytes) -> Fault:
        """From a payload; absent fields are empty text."""
        fields = Fields(payload)
        return cls(fields.text(Tag.MESSAGE) or "", fields.text(Tag.TRACE) or "", fields.text(Tag.KIND) or "")
