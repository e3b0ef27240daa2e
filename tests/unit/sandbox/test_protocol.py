"""The channel protocol reads and writes the shared vectors, and survives any bytes a guest can send."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.sandbox.protocol import (
    FROM_GUEST,
    FROM_HOST,
    HEADER,
    MAX_FIELDS,
    MAX_PAYLOAD,
    Exit,
    Fault,
    Fields,
    Frame,
    FrameDecoder,
    FrameType,
    Hello,
    ProtocolError,
    Start,
    Tag,
    encode_fields,
    encode_frame,
)

VECTORS = json.loads((Path(__file__).resolve().parents[2] / "vectors" / "channel.json").read_text())
SIDES = {"guest": FROM_GUEST, "host": FROM_HOST}
MESSAGES: dict[str, type[Hello] | type[Start] | type[Exit] | type[Fault]] = {
    "HELLO": Hello,
    "START": Start,
    "EXIT": Exit,
    "EXCEPTION": Fault,
    "ERROR": Fault,
}
REFUSALS = {
    "too_long": "exceeds the limit",
    "bad_type": "not known or not allowed",
    "truncated": "inside a field header",
    "overrun": "runs past its message",
    "bad_integer": "8-byte integer",
    "repeated": "2 times",
    "missing": "without version or nonce",
    "impossible": "EXIT",
}
"""What the message of each kind of refusal says."""


def vectors(kind: str) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in VECTORS[kind]]


def decoder(side: str) -> FrameDecoder:
    return FrameDecoder(accept=SIDES[side])


def frames_of(vector: dict[str, Any]) -> list[Frame]:
    return [
        Frame(FrameType[frame["type"]], frame["stream"], bytes.fromhex(frame["payload"])) for frame in vector["frames"]
    ]


def plain(message: Hello | Start | Exit | Fault) -> dict[str, Any]:
    """A decoded message as the vectors write it down: bytes in hex, nothing that is absent."""
    found: dict[str, Any] = {}
    for name, value in dataclasses.asdict(message).items():
        if value is None or (value == () and name != "features"):
            continue
        found[name] = value.hex() if isinstance(value, bytes) else list(value) if isinstance(value, tuple) else value
    return found


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """`data` in pieces whose lengths are taken in turn from `cuts`."""
    while data:
        for cut in cuts or [len(data)]:
            yield data[:cut]
            data = data[cut:]


@pytest.mark.parametrize("vector", vectors("frames"))
def test_a_vector_decodes_to_its_frames(vector: dict[str, Any]) -> None:
    reader = decoder(vector["from"])
    assert reader.feed(bytes.fromhex(vector["hex"])) == frames_of(vector)
    assert reader.pending_bytes == 0


@pytest.mark.parametrize("vector", vectors("frames"))
def test_frames_encode_to_their_vector(vector: dict[str, Any]) -> None:
    encoded = b"".join(encode_frame(frame.type, frame.payload, stream=frame.stream) for frame in frames_of(vector))
    assert encoded.hex() == vector["hex"]


@pytest.mark.parametrize("vector", vectors("incomplete"))
def test_an_incomplete_frame_waits_for_the_rest(vector: dict[str, Any]) -> None:
    reader = decoder(vector["from"])
    assert reader.feed(bytes.fromhex(vector["hex"])) == []
    assert reader.pending_bytes == vector["pending_bytes"]


@pytest.mark.parametrize("vector", vectors("refused_frames"))
def test_a_forbidden_frame_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match=REFUSALS[vector["refusal"]]):
        decoder(vector["from"]).feed(bytes.fromhex(vector["hex"]))


@pytest.mark.parametrize("vector", vectors("messages"))
def test_a_message_means_what_its_vector_says(vector: dict[str, Any]) -> None:
    assert plain(MESSAGES[vector["type"]].decode(bytes.fromhex(vector["hex"]))) == vector["meaning"]


@pytest.mark.parametrize("vector", [v for v in vectors("messages") if "future" not in v.id])
def test_fields_encode_to_their_vector(vector: dict[str, Any]) -> None:
    assert encode_fields([(Tag(tag), bytes.fromhex(value)) for tag, value in vector["fields"]]).hex() == vector["hex"]


@pytest.mark.parametrize("vector", vectors("refused_messages"))
def test_a_malformed_message_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match=REFUSALS[vector["refusal"]]):
        MESSAGES[vector["type"]].decode(bytes.fromhex(vector["hex"]))


def test_a_message_of_too_many_fields_is_refused() -> None:
    field = encode_fields([(Tag.ARG, b"")])
    assert len(Start.decode(field * MAX_FIELDS).args) == MAX_FIELDS
    with pytest.raises(ProtocolError, match="more than"):
        Start.decode(field * (MAX_FIELDS + 1))


def test_the_largest_frame_passes_and_a_larger_one_is_never_written() -> None:
    largest = encode_frame(FrameType.STDOUT, bytes(MAX_PAYLOAD), stream=1)
    assert FrameDecoder().feed(largest) == [Frame(FrameType.STDOUT, 1, bytes(MAX_PAYLOAD))]
    with pytest.raises(ValueError, match="at most"):
        encode_frame(FrameType.STDOUT, bytes(MAX_PAYLOAD + 1))


guest_frames = st.builds(Frame, st.sampled_from(sorted(FROM_GUEST)), st.integers(0, 2**32 - 1), st.binary(max_size=300))
cuts = st.lists(st.integers(1, 100), max_size=20)


@given(st.lists(guest_frames, max_size=12), cuts)
def test_any_chunking_gives_the_same_frames(frames: list[Frame], cuts: list[int]) -> None:
    reader = FrameDecoder()
    stream = b"".join(encode_frame(frame.type, frame.payload, stream=frame.stream) for frame in frames)
    assert [frame for piece in pieces(stream, cuts) for frame in reader.feed(piece)] == frames
    assert reader.pending_bytes == 0


@given(st.binary(max_size=2000), cuts)
def test_garbage_is_frames_or_a_protocol_error_and_never_more_memory_than_a_frame(data: bytes, cuts: list[int]) -> None:
    reader = FrameDecoder(max_payload=256)
    try:
        for piece in pieces(data, cuts):
            reader.feed(piece)
            assert reader.pending_bytes < HEADER.size + 256
    except ProtocolError:
        pass


@given(st.binary(max_size=2000))
def test_any_payload_is_a_message_or_a_protocol_error(payload: bytes) -> None:
    for message in (Hello, Start, Exit, Fault):
        try:
            message.decode(payload)
        except ProtocolError:
            continue


@given(st.lists(st.tuples(st.sampled_from(Tag), st.binary(max_size=64)), max_size=40))
def test_fields_come_back_in_order(fields: list[tuple[Tag, bytes]]) -> None:
    found = Fields(encode_fields(fields))
    for tag in Tag:
        assert found.texts(tag) == [value.decode("utf-8", "replace") for key, value in fields if key is tag]


texts = st.text(max_size=20)
numbers = st.none() | st.integers(0, 2**64 - 1)


@given(
    st.builds(
        Start,
        argv=st.lists(texts).map(tuple),
        entrypoint=st.none() | texts,
        args=st.lists(texts).map(tuple),
        env=st.lists(texts).map(tuple),
        cwd=st.none() | texts,
        input=st.none() | st.binary(max_size=40),
        input_size=numbers,
        output_path=st.none() | texts,
        limit_pids=numbers,
        limit_nofile=numbers,
        limit_fsize=numbers,
        limit_output=numbers,
    )
)
def test_every_start_survives_the_wire(start: Start) -> None:
    assert Start.decode(start.encode()) == start
