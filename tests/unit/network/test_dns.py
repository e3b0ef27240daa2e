"""DNS messages: what is read out of them, and that nothing in one does harm."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.host.network import dns

HEADER = struct.Struct("!HHHHHH")
ADDRESS = IPv4Address("1.2.3.4")


def name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def record(owner: bytes, kind: int, ttl_s: int, data: bytes) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, ttl_s, len(data)) + data


def response(asked: str, *records: bytes, flags: int = 0x8180) -> bytes:
    question = name(asked) + struct.pack("!HH", dns.A, 1)
    return HEADER.pack(7, flags, 1, len(records), 0, 0) + question + b"".join(records)


def test_a_query_is_read_as_it_was_written() -> None:
    query = dns.read_query(dns.write_query(7, "api.example.com", dns.A))
    assert (query.id, query.name, query.kind, query.recursion) == (7, "api.example.com", dns.A, True)
    assert query.max_udp == 1_232


def test_names_are_compared_in_small_letters_and_given_back_as_written() -> None:
    question = name("API.Example") + struct.pack("!HH", dns.A, 1)
    query = dns.read_query(HEADER.pack(1, 0x0100, 1, 0, 0, 0) + question)
    assert query.name == "api.example"
    answer = dns.write_answer(query, dns.Code.OK, [ADDRESS], 60)
    assert question in answer
    assert dns.read_addresses(answer) == dns.Answer(0, False, (ADDRESS,), 60)


def test_addresses_are_followed_through_aliases_and_live_as_long_as_the_shortest() -> None:
    message = response(
        "a.example",
        record(name("a.example"), dns.CNAME, 20, name("b.example")),
        record(name("b.example"), dns.A, 300, ADDRESS.packed),
        record(name("stranger.example"), dns.A, 300, bytes([9, 9, 9, 9])),
    )
    assert dns.read_addresses(message) == dns.Answer(0, False, (ADDRESS,), 20)


def test_aliases_in_a_circle_lead_nowhere() -> None:
    circle = [
        record(name("a.example"), dns.CNAME, 20, name("b.example")),
        record(name("b.example"), dns.CNAME, 20, name("a.example")),
    ]
    assert dns.read_addresses(response("a.example", *circle)).addresses == ()


@pytest.mark.parametrize(
    "tail",
    [
        b"\xc0\x0c",  # points at itself
        b"\xc0\xff",  # points forwards
        b"\x05abc",  # is cut off
        b"\x40abc",  # is of an unknown kind
        b"\x03a.b\x00\x00\x01\x00\x01",  # has a dot inside a label
        b"".join(b"\x3f" + b"a" * 63 for _ in range(5)) + b"\0\x00\x01\x00\x01",  # is too long
        b"",
    ],
)
def test_a_name_that_cannot_be_is_malformed(tail: bytes) -> None:
    with pytest.raises(dns.Malformed):
        dns.read_query(HEADER.pack(1, 0x0100, 1, 0, 0, 0) + tail)


@pytest.mark.parametrize("header", [(1, 0x8100, 1, 0, 0, 0), (1, 0x0100, 2, 0, 0, 0), (1, 0x2900, 1, 0, 0, 0)])
def test_what_is_not_one_question_is_malformed(header: tuple[int, ...]) -> None:
    with pytest.raises(dns.Malformed):
        dns.read_query(HEADER.pack(*header) + name("a.example") + struct.pack("!HH", dns.A, 1))


@pytest.mark.parametrize(
    ("id_", "asked", "kind", "fits"),
    [
        (7, "a.example", dns.A, True),
        (8, "a.example", dns.A, False),
        (7, "b.example", dns.A, False),
        (7, "a.example", dns.AAAA, False),
    ],
)
def test_only_the_answer_to_our_own_question_counts(id_: int, asked: str, kind: int, fits: bool) -> None:
    assert dns.is_answer_to(response("a.example"), id_, asked, kind) == fits


def test_a_question_is_no_answer() -> None:
    assert not dns.is_answer_to(dns.write_query(7, "a.example", dns.A), 7, "a.example", dns.A)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    for read in (dns.read_query, dns.read_addresses):
        try:
            read(data)
        except dns.Malformed:
            continue
    dns.refuse(data, dns.Code.REFUSED)
    dns.is_answer_to(data, 7, "a.example", dns.A)


@given(st.binary(max_size=200))
def test_any_records_are_read_or_malformed(data: bytes) -> None:
    message = bytearray(response("a.example") + data)
    message[6:8] = b"\x00\x05"
    try:
        found = dns.read_addresses(bytes(message))
    except dns.Malformed:
        return
    assert len(found.addresses) <= 5
