"""What is fuzzed: everything of ours that reads bytes from a sandbox, a client, a server or a name server."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
import tempfile
from pathlib import Path

from caisson.api.validation import decode_spec
from caisson.client.sse import EventTooLarge, SseParser
from caisson.errors import Refused
from caisson.host.network import dns
from caisson.images.archive import ArchiveError, ArchiveLimits, extract_archive
from caisson.images.errors import ImageError
from caisson.images.oci.config import read_settings
from caisson.images.oci.errors import NoSuchImage
from caisson.images.oci.reference import parse_reference
from caisson.sandbox.events import Reader
from caisson.sandbox.protocol import (
    Exit,
    Fault,
    Frame,
    FrameDecoder,
    FrameType,
    Hello,
    ProtocolError,
    Start,
    encode_frame,
)
from caisson.sandbox.runtimes.planning import normalise, plan
from tests.fuzz.fuzzer import Target, found_inputs

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "channel.json"
FOUND = Path(__file__).with_name("found")
LIMITS = ArchiveLimits(entries=100, unpacked_bytes=1 << 20, depth=16)
MESSAGES: dict[FrameType, type[Hello] | type[Start] | type[Exit] | type[Fault]] = {
    FrameType.HELLO: Hello,
    FrameType.START: Start,
    FrameType.EXIT: Exit,
    FrameType.EXCEPTION: Fault,
}
_SCRATCH = Path(tempfile.gettempdir())


def frames(data: bytes, pieces: int) -> tuple[list[Frame], str]:
    """What a decoder makes of bytes that come in pieces of this size, and how it refuses them."""
    decoder, found = FrameDecoder(max_payload=4096), []
    try:
        for start in range(0, len(data), pieces):
            found += decoder.feed(data[start : start + pieces])
    except ProtocolError as error:
        return found, str(error)
    return found, ""


def channel(data: bytes) -> None:
    """Frames, however cut, are the same; every message in them is read or refused."""
    whole, refusal = frames(data, len(data) or 1)
    cut, cut_refusal = frames(data, 3)
    assert refusal == cut_refusal
    # In one piece, nothing of it is given out before all of it was looked at.
    assert whole == cut or refusal
    for frame in cut:
        if (message := MESSAGES.get(FrameType(frame.type))) is not None:
            try:
                message.decode(bytes(frame.payload))
            except ProtocolError:
                continue


def events(data: bytes) -> None:
    """A sandbox's frames become events or are refused, whatever their order; it ends once at most."""
    reader = Reader(max_output_bytes=10_000)
    decoded, _ = frames(data, len(data) or 1)
    told = list(reader.read(decoded))
    assert sum(type(event).__name__ == "Exited" for event in told) <= 1


def archive(data: bytes) -> None:
    """A tar is unpacked below its folder or refused; nothing but plain files and folders is made, within the limits."""
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as name:
        outer = Path(name)
        (outer / "a.tar.gz").write_bytes(gzip.compress(data, compresslevel=0, mtime=0))
        (outer / "in").mkdir()
        try:
            extract_archive(outer / "a.tar.gz", outer / "in", LIMITS)
        finally:
            assert {path.name for path in outer.iterdir()} == {"a.tar.gz", "in"}
            made = [path for path in (outer / "in").rglob("*")]
            assert not [path for path in made if path.is_symlink() or not (path.is_file() or path.is_dir())]
            assert len(made) <= LIMITS.entries
            assert sum(path.stat().st_size for path in made if path.is_file()) <= LIMITS.unpacked_bytes


def spec(data: bytes) -> None:
    """A request is refused, or becomes a job whose files lie below the work folder."""
    job = plan("x", normalise(decode_spec(data), {"main.py"}), None)
    for name in job.files:
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert "\0" not in name


def sse(data: bytes) -> None:
    """A stream's events are the same however it is cut."""

    def read(pieces: int) -> list[object]:
        parser = SseParser(max_event_bytes=1000)
        told: list[object] = []
        try:
            for start in range(0, len(data), pieces):
                told += parser.feed(data[start : start + pieces])
        except EventTooLarge:
            told.append(None)
        return told

    assert read(1) == read(len(data) or 1)


def names(data: bytes) -> None:
    """A message about names is read or refused, as a question and as an answer, and what is written is read again."""
    try:
        query = dns.read_query(data)
    except dns.Malformed:
        dns.refuse(data, dns.Code.FORMAT_ERROR)
    else:
        answer = dns.for_udp(query, dns.write_answer(query, dns.Code.OK))
        assert dns.is_answer_to(answer, query.id, query.name, query.kind)
    dns.read_addresses(data)


def image(data: bytes) -> None:
    """The name and the settings of an image: read, or refused."""
    text, _, config = data.partition(b"\n")
    read_settings(config, Path("/nonexistent"))
    reference = parse_reference(text.decode("utf-8", "replace"))
    assert parse_reference(str(reference)) == reference


def _tar(tar_format: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as made:
        for name, kind in (
            ("main.py", tarfile.REGTYPE),
            ("lib", tarfile.DIRTYPE),
            ("y/" + "x" * 98, tarfile.REGTYPE),
            ("l", b"2"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = (
                kind,
                3 if kind == tarfile.REGTYPE else 0,
                "/etc" if kind == b"2" else "",
            )
            made.addfile(info, io.BytesIO(b"abc"))
    return buffer.getvalue()


SPECS = [
    {"runtime": "python", "code": "print(1)", "input": {"a": [1, 2.5, None]}, "env": {"K": "v"}, "args": ["x"]},
    {"runtime": "node", "files": {"lib/a.js": "", "main.js": "1"}, "entrypoint": "main.js", "labels": {"team": "a"}},
    {"runtime": "oci", "image": "h.example:5000/a/b:1@sha256:" + "0" * 64, "command": ["sh"], "retries": 2},
    {"runtime": "wasm", "code": base64.b64encode(b"\0asm").decode(), "resources": {"cpus": 0.5, "mem_mb": 64.0}},
    {
        "runtime": "bash",
        "code": "",
        "network": {"allow": ["10.0.0.0/8", "a.example:443", "[::1]:1"]},
        "stdin": "é\ud83d",
    },
]
_FRAMES = [
    encode_frame(FrameType.HELLO, Hello(1, b"n" * 16).encode()),
    encode_frame(FrameType.STDOUT, b"out\n") + encode_frame(FrameType.EXIT, Exit(code=0).encode()),
]


def _vectors() -> list[bytes]:
    found: list[bytes] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)
        elif (
            isinstance(value, str)
            and len(value) >= 10
            and set(value) <= set("0123456789abcdef")
            and len(value) % 2 == 0
        ):
            found.append(bytes.fromhex(value))

    walk(json.loads(VECTORS.read_text()))
    return found


_STREAM = [
    b'id: 0\ndata: {"seq": 0}\n\n: beat\n\nevent: done\r\ndata: {}\r\n\r\n',
    b"\xef\xbb\xbfdata: a\rdata:b\r\r",
    b"data\n\nid: \0\nid\n\n",
]
_QUESTION = dns.write_query(7, "api.example.com", dns.A)
_ANSWER = _QUESTION[:2] + b"\x81\x80" + _QUESTION[4:]
_SETTINGS = {"Entrypoint": ["/x"], "Cmd": [], "Env": ["A=1"], "User": "1:2", "WorkingDir": "/w"}
_CONFIG = b"h.example/a:1\n" + json.dumps({"config": _SETTINGS}).encode()

TARGETS = {
    target.name: target
    for target in (
        Target("channel", channel, (ProtocolError,), ("sandbox/protocol.py",), [*_vectors(), *_FRAMES]),
        Target(
            "events", events, (ProtocolError,), ("sandbox/events.py", "sandbox/protocol.py"), [*_FRAMES, *_vectors()]
        ),
        Target(
            "archive",
            archive,
            (ArchiveError,),
            ("images/archive.py", "images/tarstream.py"),
            [_tar(tarfile.PAX_FORMAT), _tar(tarfile.GNU_FORMAT), _tar(tarfile.USTAR_FORMAT), b""],
            [b"../", b"/", b"\0" * 512, b"30 path=../../x\n", b"20 size=1000000000\n", b"ustar  \0", b"ustar\00000"],
        ),
        Target(
            "spec",
            spec,
            (Refused,),
            ("api/validation.py", "runtimes/planning.py", "destinations.py"),
            [json.dumps(each).encode() for each in SPECS],
            [
                b'"code"',
                b'"files"',
                b"null",
                b"1e400",
                b"-0",
                b'"\\ud800"',
                b"[" * 2000,
                b"{",
                b"}",
                b'"../x"',
                b'"a\\u0000"',
            ],
        ),
        Target(
            "sse",
            sse,
            (),
            ("client/sse.py",),
            _STREAM,
            [b"data:", b"id:", b"event:", b"\r\n", b"\n\n", b"\xef\xbb\xbf"],
        ),
        Target("names", names, (dns.Malformed,), ("network/dns.py",), [_QUESTION, _ANSWER], [b"\xc0\x0c", b"\x3f"]),
        Target(
            "image",
            image,
            (NoSuchImage, ImageError, ValueError),
            ("oci/config.py", "oci/reference.py"),
            [_CONFIG],
            [b"null", b"[]", b"@sha256:"],
        ),
    )
}


def with_found(target: Target) -> Target:
    """The target with everything that ever was a failure of it among its seeds."""
    seeds = [*target.seeds, *found_inputs(FOUND / target.name)]
    return Target(target.name, target.run, target.answers, target.modules, seeds, target.words)
