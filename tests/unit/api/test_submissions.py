"""Both ways to send a workload arrive at the engine alike, and what is refused leaves no file behind."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from caisson.api import multipart, submissions, uploads
from caisson.errors import Refusal, Refused
from tests.unit.api.doubles import EngineDouble

pytestmark = pytest.mark.anyio
SPEC = {"runtime": "node"}


def packed(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


ARCHIVE = packed(main="1")


def part(name: str, content: bytes, boundary: str = "xyz") -> bytes:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content + b"\r\n"


def form(*parts: tuple[str, bytes], end: bytes = b"--xyz--\r\n") -> dict[str, Any]:
    body = b"".join(part(name, content) for name, content in parts) + end
    return {"content": body, "headers": {"Content-Type": "multipart/form-data; boundary=xyz"}}


def both(spec: dict[str, Any] | None = None, archive: bytes = ARCHIVE) -> dict[str, Any]:
    return form(("spec", json.dumps(spec or SPEC).encode()), ("archive", archive))


def left_files(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("uploads/*"))


@pytest.mark.parametrize("path", ["/v1/workloads", "/v1/workloads/async"])
@pytest.mark.parametrize("order", [1, -1])
async def test_spec_and_archive_may_come_in_either_order(
    http: httpx2.AsyncClient, engine: EngineDouble, path: str, order: int
) -> None:
    parts = [("spec", json.dumps(SPEC).encode()), ("archive", ARCHIVE)][::order]
    answer = await http.post(path, **form(*parts))
    assert answer.status_code in (200, 202), answer.text
    (submission,) = engine.submissions
    assert submission.archive is not None
    assert submission.archive.read_bytes() == ARCHIVE
    assert tuple(submission.archive_names) == ("main",)


async def test_a_base64_archive_arrives_like_an_uploaded_one(http: httpx2.AsyncClient, engine: EngineDouble) -> None:
    answer = await http.post("/v1/workloads", json=SPEC | {"code_archive": base64.b64encode(ARCHIVE).decode()})
    assert answer.status_code == 200, answer.text
    (submission,) = engine.submissions
    assert submission.archive is not None
    assert submission.archive.read_bytes() == ARCHIVE
    assert submission.spec.code_archive is None


async def test_the_body_may_come_in_pieces_of_any_size(http: httpx2.AsyncClient, engine: EngineDouble) -> None:
    request = both()

    async def bytewise() -> AsyncIterator[bytes]:
        for byte in request["content"]:
            yield bytes([byte])

    answer = await http.post("/v1/workloads", content=bytewise(), headers=request["headers"])
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("request_arguments", "reason", "member"),
    [
        (form(("spec", b'{"runtime": "node"}')), "malformed", "archive"),
        (form(("archive", ARCHIVE)), "malformed", "spec"),
        (form(("spec", b"{}"), ("spec", b"{}")), "malformed", "spec"),
        (form(("spec", b"{}"), ("more", b"")), "unknown_member", "more"),
        (form(("spec", b"{}"), ("archive", ARCHIVE), end=b""), "malformed", "body"),
        (form(end=b""), "malformed", "body"),
        (form(end=b"garbage"), "malformed", "body"),
        (form(("spec", b"{"), ("archive", ARCHIVE)), "malformed", "spec"),
        (form(("spec", b"[]"), ("archive", ARCHIVE)), "malformed", "spec"),
        (form(("spec", b"\xff"), ("archive", ARCHIVE)), "malformed", "spec"),
        (both(archive=b"no archive"), "bad_archive", "archive"),
        (both(archive=ARCHIVE[:-5]), "bad_archive", "archive"),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data"}}, "malformed", "Content-Type"),
        (
            {"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=" + "x" * 300}},
            "malformed",
            "body",
        ),
        ({"json": SPEC | {"code_archive": "not base64!"}}, "bad_archive", "code_archive"),
        ({"json": SPEC | {"code_archive": "bm8gYXJjaGl2ZQ=="}}, "bad_archive", "code_archive"),
    ],
)
async def test_a_damaged_or_foreign_form_is_refused_and_leaves_nothing(
    http: httpx2.AsyncClient,
    engine: EngineDouble,
    tmp_path: Path,
    request_arguments: dict[str, Any],
    reason: str,
    member: str | None,
) -> None:
    answer = await http.post("/v1/workloads", **request_arguments)
    problem = answer.json()
    assert (answer.status_code, problem["reason"], problem.get("member")) == (400, reason, member), problem
    assert not engine.submissions
    assert not left_files(tmp_path)


async def test_an_archive_may_unpack_to_no_more_than_the_disk_of_its_workload(
    http: httpx2.AsyncClient, engine: EngineDouble, tmp_path: Path
) -> None:
    archive = packed(zeros="\0" * (1 << 20), more="x")
    answer = await http.post("/v1/workloads", **both(SPEC | {"resources": {"disk_mb": 1}}, archive))
    assert (answer.status_code, answer.json()["reason"]) == (400, "bad_archive")
    assert not left_files(tmp_path)


async def test_code_in_the_spec_beside_an_archive_is_refused(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    answer = await http.post("/v1/workloads", **both(SPEC | {"code": "1"}))
    assert (answer.status_code, answer.json()["member"]) == (422, "code")
    assert not left_files(tmp_path)


@pytest.mark.parametrize(
    ("patched", "name", "request_arguments", "member"),
    [
        (submissions, "MAX_BODY_BYTES", {"json": SPEC | {"code": "x" * 100}}, "body"),
        (multipart, "MAX_BODY_BYTES", both(SPEC | {"env": {"A": "x" * 100}}), "spec"),
        (uploads, "MAX_ARCHIVE_BYTES", both(), "archive"),
        (multipart, "MAX_MULTIPART_BYTES", both(), "body"),
    ],
)
async def test_what_is_over_a_limit_is_refused_and_leaves_nothing(
    http: httpx2.AsyncClient,
    engine: EngineDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patched: Any,
    name: str,
    request_arguments: dict[str, Any],
    member: str,
) -> None:
    monkeypatch.setattr(patched, name, 64)
    answer = await http.post("/v1/workloads", **request_arguments)
    problem = answer.json()
    assert (answer.status_code, problem["reason"], problem["member"]) == (413, "too_large", member)
    assert answer.headers["Connection"] == "close"
    assert not engine.submissions
    assert not left_files(tmp_path)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/json; charset=latin-1",
        "multipart/mixed; boundary=x",
    ],
)
async def test_a_body_of_another_type_is_refused(http: httpx2.AsyncClient, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await http.post("/v1/workloads", content=b'{"runtime": "node", "code": "1"}', headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8"])
async def test_json_is_accepted_however_its_type_is_written(http: httpx2.AsyncClient, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answer = await http.post("/v1/workloads", content=b'{"runtime": "node", "code": "1"}', headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("length", ["x", "-1", "9" * 30, "\u00b2"])
async def test_an_impossible_content_length_is_refused(http: httpx2.AsyncClient, length: str) -> None:
    headers = {b"Content-Type": b"application/json", b"Content-Length": length.encode("latin-1")}
    answer = await http.post("/v1/workloads", content=b"{}", headers=headers)
    assert answer.status_code in (400, 413)


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "\t"])
async def test_an_unfit_idempotency_key_is_refused(http: httpx2.AsyncClient, key: str) -> None:
    answer = await http.post(
        "/v1/workloads", json=SPEC | {"code": "1"}, headers={b"Idempotency-Key": key.encode("latin-1")}
    )
    assert (answer.status_code, answer.json()["member"]) == (400, "Idempotency-Key")


async def test_the_fingerprint_is_of_what_is_asked_not_of_how_it_is_written(
    http: httpx2.AsyncClient, engine: EngineDouble
) -> None:
    encoded = base64.b64encode(ARCHIVE).decode()
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    for text in (
        '{"runtime": "node", "code": "1", "env": {"A": "1", "B": "2"}}',
        '{"env": {"B": "2", "A": "1"}, "code": "1", "runtime": "node", "isolation": "auto"}',
        '{"runtime": "node", "code": "2", "env": {"A": "1", "B": "2"}}',
        f'{{"runtime": "node", "code_archive": "{encoded}"}}',
    ):
        assert (await http.post("/v1/workloads", content=text, headers=headers)).status_code == 200
    request = both()
    request["headers"]["Idempotency-Key"] = "k"
    assert (await http.post("/v1/workloads", **request)).status_code == 200
    same, reordered, other, archived, uploaded = (submission.fingerprint for submission in engine.submissions)
    assert same == reordered
    assert archived == uploaded
    assert len({same, other, archived}) == 3


async def test_what_the_engine_refuses_is_told_with_its_member_and_when_to_come_back(
    http: httpx2.AsyncClient, engine: EngineDouble
) -> None:
    engine.refusal = Refused(503, Refusal.OVERLOADED, "the queue is full", retry_after_s=7, member="runtime")
    answer = await http.post("/v1/workloads", json=SPEC | {"code": "1"})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "7"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "/docs/reference/errors#overloaded",
        "title": "The server has no room for this now",
        "status": 503,
        "detail": "the queue is full",
        "reason": "overloaded",
        "member": "runtime",
    }


async def test_a_disk_that_takes_no_more_is_told_and_leaves_nothing(
    http: httpx2.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: uploads.Upload, *, durable: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uploads.Upload, "_store", full)
    answer = await http.post("/v1/workloads", **both())
    assert (answer.status_code, answer.json()["reason"]) == (503, "storage")
    assert "Retry-After" in answer.headers
    assert not left_files(tmp_path)


async def test_a_gzip_bomb_in_base64_is_refused(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    bomb = {"code_archive": base64.b64encode(gzip.compress(bytes(64 << 20), 9)).decode()}
    answer = await http.post("/v1/workloads", json=SPEC | bomb | {"resources": {"disk_mb": 1}})
    assert (answer.status_code, answer.json()["member"]) == (400, "code_archive")
    assert not left_files(tmp_path)
