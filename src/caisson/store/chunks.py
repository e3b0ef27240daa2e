"""Log chunks as bytes: msgpack of runs of lines that share stream and time, compressed where that pays."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec

from caisson.model import LogLine, Stream
from caisson.store.instants import from_us, to_us

COMPRESS_FROM_BYTES = 4096
"""Below a page of the database there is nothing to gain."""
COMPRESS_LEVEL = 1
_PLAIN, _ZLIB = b"\0", b"\1"
_STREAMS = (Stream.STDOUT, Stream.STDERR)


class _Packed(msgspec.Struct, array_like=True):
    """`runs` are (number of lines, index of the stream, time in microseconds) and cover `lines` in order."""

    runs: list[tuple[int, int, int]]
    lines: list[str]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Packed)


def encode(lines: Sequence[LogLine]) -> bytes:
    """The bytes that `decode` makes the lines of again, given the number of the first."""
    runs = []
    for (stream, ts), members in groupby(lines, key=lambda line: (line.stream, line.ts)):
        runs.append((sum(1 for _ in members), _STREAMS.index(stream), to_us(ts)))
    packed = _encoder.encode(_Packed(runs, [line.line for line in lines]))
    if len(packed) >= COMPRESS_FROM_BYTES:
        compressed = zlib.compress(packed, COMPRESS_LEVEL)
        if len(compressed) < len(packed) * 3 // 4:
            return _ZLIB + compressed
    return _PLAIN + packed


def decode(data: bytes, first_seq: int) -> Iterator[LogLine]:
    """The lines of a chunk whose first line has the number `first_seq`."""
    packed = _decoder.decode(zlib.decompress(data[1:]) if data[:1] == _ZLIB else memoryview(data)[1:])
    lines = enumerate(packed.lines, first_seq)
    for count, stream, ts_us in packed.runs:
        name, ts = _STREAMS[stream], from_us(ts_us)
        for _ in range(count):
            seq, line = next(lines)
            yield LogLine(seq=seq, stream=name, line=line, ts=ts)
