"""DNS messages (RFC 1035), as far as a resolver for sandboxes must read and write them. Nothing in one is trusted."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

MAX_UDP = 512
"""Largest answer over UDP to a client that does not say it takes more."""
MAX_CHAIN = 16
A, CNAME, AAAA, OPT, ANY = 1, 5, 28, 41, 255
_INTERNET = 1
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_RESPONSE, _TRUNCATED, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0200, 0x0100, 0x0080
_OPCODE = 0x7800


class Code(IntEnum):
    """Response codes."""

    OK = 0
    FORMAT_ERROR = 1
    SERVER_FAILURE = 2
    NO_SUCH_NAME = 3
    NOT_IMPLEMENTED = 4
    REFUSED = 5


class Malformed(ValueError):
    """The bytes are no DNS message of the kind expected."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question a sandbox asks. `question` is as it was written, to be given back so."""

    id: int
    name: str
    """In small letters, without a dot at its end."""
    kind: int
    question: bytes
    recursion: bool
    max_udp: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What an upstream server said of the addresses of a name."""

    code: int
    truncated: bool
    addresses: tuple[IPv4Address, ...]
    ttl_s: int
    """The least of those of the records on the way; 0 if there are no addresses."""


def read_query(message: bytes) -> Query:
    """The one question of a message. Raises Malformed."""
    id_, flags, questions, answers, authorities, additional = _header(message)
    if flags & (_RESPONSE | _OPCODE) or questions != 1 or answers or authorities:
        raise Malformed("not a query with one question")
    name, end = _name(message, _HEADER.size)
    kind, class_ = _fields("!HH", message, end)
    if class_ != _INTERNET:
        raise Malformed("not about the Internet")
    question = message[_HEADER.size : end + 4]
    max_udp, offset = MAX_UDP, end + 4
    for _ in range(min(additional, 4)):
        _, offset = _name(message, offset)
        record, size, _, length = _fields("!HHIH", message, offset)
        if record == OPT:
            max_udp = min(max(size, MAX_UDP), 1_232)
        offset += _RECORD.size + length
    return Query(id_, name, kind, question, bool(flags & _RECURSION_DESIRED), max_udp)


def write_query(id_: int, name: str, kind: int) -> bytes:
    """A question to an upstream server, willing to take long answers."""
    labels = b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.split(".") if label)
    question = labels + b"\0" + struct.pack("!HH", kind, _INTERNET)
    extension = b"\0" + _RECORD.pack(OPT, 1_232, 0, 0)
    return _HEADER.pack(id_, _RECURSION_DESIRED, 1, 0, 0, 1) + question + extension


def write_answer(query: Query, code: Code, addresses: Sequence[IPv4Address] = (), ttl_s: int = 0) -> bytes:
    """The answer to a sandbox: these addresses, as though the name had them itself."""
    flags = _RESPONSE | _RECURSION_AVAILABLE | (_RECURSION_DESIRED if query.recursion else 0) | code
    records = b"".join(
        # 0xC00C points to the question's name.
        b"\xc0\x0c" + _RECORD.pack(A, _INTERNET, ttl_s, 4) + address.packed
        for address in addresses
    )
    return _HEADER.pack(query.id, flags, 1, len(addresses), 0, 0) + query.question + records


def refuse(message: bytes, code: Code) -> bytes | None:
    """An answer without any content to a message that is not understood; None where not even an id can be read."""
    if len(message) < _HEADER.size or message[2] & 0x80:
        return None
    return _HEADER.pack(int.from_bytes(message[:2]), _RESPONSE | _RECURSION_AVAILABLE | code, 0, 0, 0, 0)


def for_udp(query: Query, answer: bytes) -> bytes:
    """The answer, or, if it is too long, one that says so and makes the client come again over TCP."""
    if len(answer) <= query.max_udp:
        return answer
    flags = int.from_bytes(answer[2:4]) | _TRUNCATED
    return _HEADER.pack(query.id, flags, 1, 0, 0, 0) + query.question


def is_answer_to(message: bytes, id_: int, name: str, kind: int) -> bool:
    """Is it the response to the question we asked? Anybody may send us a datagram."""
    try:
        found, flags, questions, *_ = _header(message)
        asked, end = _name(message, _HEADER.size)
        return (
            found == id_
            and bool(flags & _RESPONSE)
            and questions == 1
            and asked == name
            and _fields("!HH", message, end) == (kind, _INTERNET)
        )
    except Malformed:
        return False


def is_truncated(message: bytes) -> bool:
    """Did the server leave something out of this response?"""
    return bool(_header(message)[1] & _TRUNCATED)


def as_asked(response: bytes, query: Query) -> bytes:
    """A response to a question of ours as the response to the sandbox's: its id, and the name as it wrote it."""
    end = _HEADER.size + len(query.question)
    if len(response) < end or response[_HEADER.size : end].lower() != query.question.lower():
        raise Malformed("the question is not the one that was asked")
    return query.id.to_bytes(2) + response[2 : _HEADER.size] + query.question + response[end:]


def read_addresses(message: bytes) -> Answer:
    """The addresses a response gives to the name it asks for, also through aliases. Raises Malformed."""
    _, flags, questions, answers, *_ = _header(message)
    if not flags & _RESPONSE or questions != 1:
        raise Malformed("not a response")
    name, end = _name(message, _HEADER.size)
    offset = end + 4
    aliases: dict[str, tuple[str, int]] = {}
    found: dict[str, list[tuple[IPv4Address, int]]] = {}
    for _ in range(answers):
        owner, offset = _name(message, offset)
        kind, class_, ttl_s, length = _fields("!HHIH", message, offset)
        offset += _RECORD.size
        if offset + length > len(message):
            raise Malformed("a record goes beyond the end")
        ttl_s = 0 if ttl_s >> 31 else ttl_s
        if class_ == _INTERNET and kind == A and length == 4:
            found.setdefault(owner, []).append((IPv4Address(message[offset : offset + 4]), ttl_s))
        elif class_ == _INTERNET and kind == CNAME:
            target, _ = _name(message, offset)
            aliases[owner] = (target, ttl_s)
        offset += length
    least = 1 << 31
    for _ in range(MAX_CHAIN):
        if name not in aliases:
            break
        name, ttl_s = aliases[name]
        least = min(least, ttl_s)
    records = found.get(name, [])
    least = min([least, *(ttl_s for _, ttl_s in records)]) if records else 0
    addresses = tuple(dict.fromkeys(address for address, _ in records))
    return Answer(flags & 0xF, bool(flags & _TRUNCATED), addresses, least)


def _header(message: bytes) -> tuple[int, int, int, int, int, int]:
    if len(message) < _HEADER.size:
        raise Malformed("too short")
    fields: tuple[int, int, int, int, int, int] = _HEADER.unpack_from(message)
    return fields


def _fields(form: str, message: bytes, offset: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, message, offset)
    except struct.error:
        raise Malformed("it ends too early") from None


def _name(message: bytes, offset: int) -> tuple[str, int]:
    """The name at `offset`, in small letters, and where what follows it begins."""
    labels: list[str] = []
    length, end = 0, None
    while True:
        if offset >= len(message):
            raise Malformed("a name goes beyond the end")
        size = message[offset]
        if size == 0:
            return ".".join(labels), offset + 1 if end is None else end
        if size >= 0xC0:
            if offset + 1 >= len(message):
                raise Malformed("a name goes beyond the end")
            end = offset + 2 if end is None else end
            target = int.from_bytes(message[offset : offset + 2]) & 0x3FFF
            # Only ever backwards, so that no name is without end.
            if target >= offset:
                raise Malformed("a name points forwards")
            offset = target
            # Each step costs at least something, so that pointers to pointers end as well.
            length += 1
        elif size >= 0x40:
            raise Malformed("a label of an unknown kind")
        else:
            label = message[offset + 1 : offset + 1 + size]
            # A dot inside a label would make two names look like one.
            if len(label) < size or b"." in label:
                raise Malformed("a label is cut off or has a dot")
            labels.append(label.decode("latin-1").lower())
            length += size + 1
            offset += size + 1
        if length > 254:
            raise Malformed("a name is too long")
