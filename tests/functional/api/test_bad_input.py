"""Whatever is wrong with a request, the answer says what and where, and nothing runs or stays behind."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.helpers.server import Server, wait_until

HELLO = "export default () => 'hello'"
GOOD: dict[str, Any] = {"runtime": "node", "code": HELLO}
JSON = {"Content-Type": "application/json"}


def entry(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def tar_gz(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


MAIN = entry("main.ts", HELLO.encode())
PROJECT = tar_gz(
    entry("main.ts", b"import { a } from './lib/a.ts'; export default () => a"),
    entry("lib/a.ts", b"export const a = 7"),
)


@pytest.fixture
def count(http: httpx2.Client) -> Any:
    """How many workloads there are."""
    return lambda: http.get("/v1/workloads", params={"limit": 1}).json()["total"]


@pytest.mark.parametrize("path", ["/v1/workloads", "/v1/workloads/async"])
@pytest.mark.parametrize(
    ("body", "status", "reason", "member"),
    [
        (b"", 400, "malformed", "body"),
        (b"{", 400, "malformed", "body"),
        (b"null", 400, "malformed", "body"),
        (b"\xff", 400, "malformed", "body"),
        (b'{"runtime": "node", "code": "1", "input": NaN}', 400, "malformed", "body"),
        (b'{"runtime": "node", "code": "1", "input": -Infinity}', 400, "malformed", "body"),
        (b'{"runtime": "node", "code": "\\udc00"}', 400, "malformed", "body"),
        (b'{"runtime": "node", "code": "1", "input": ' + b'{"a":' * 300_000, 400, "malformed", "body"),
        (b'{"runtime": "node", "code": 1}', 400, "malformed", "code"),
        (b'{"code": "1"}', 400, "malformed", "runtime"),
        (b'{"runtime": "node", "code": "1", "cpu": 1}', 400, "unknown_member", "cpu"),
        (b'{"runtime": "node", "code": "1", "resources": {"ram": 1}}', 400, "unknown_member", "resources.ram"),
        (b'{"runtime": "node"}', 422, "invalid_value", "code"),
        (b'{"runtime": "node", "code": "1", "files": {"a.js": ""}}', 422, "invalid_value", "files"),
        (b'{"runtime": "perl", "code": "1"}', 422, "invalid_value", "runtime"),
        (b'{"runtime": "node", "isolation": "jail", "code": "1"}', 422, "invalid_value", "isolation"),
        (b'{"runtime": "node", "code": "1", "resources": {"mem_mb": 1e999}}', 422, "invalid_value", "resources.mem_mb"),
        (
            b'{"runtime": "node", "code": "1", "resources": {"timeout_s": -1}}',
            422,
            "invalid_value",
            "resources.timeout_s",
        ),
        (
            b'{"runtime": "node", "code": "1", "resources": {"mem_mb": 262144}}',
            422,
            "invalid_value",
            "resources.mem_mb",
        ),
        (b'{"runtime": "node", "files": {"../a.js": ""}}', 422, "invalid_value", "files"),
        (b'{"runtime": "node", "files": {"a": "", "a/b.js": ""}}', 422, "invalid_value", "files"),
        (b'{"runtime": "node", "code": "1", "network": {"allow": ["a b"]}}', 422, "invalid_value", "network.allow[0]"),
        (b'{"runtime": "wasm", "code": "not base64"}', 422, "invalid_value", "code"),
    ],
)
def test_a_bad_body_is_refused_with_the_member_at_fault(
    http: httpx2.Client, count: Any, path: str, body: bytes, status: int, reason: str, member: str | None
) -> None:
    before = count()
    answer = http.post(path, content=body, headers=JSON)
    problem = answer.json()
    assert (answer.status_code, problem["reason"], problem.get("member")) == (status, reason, member), problem
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert count() == before


@pytest.mark.parametrize(
    "number", ["1e400", "123456789012345678901234567890", "-0.0", "1.7976931348623157e308", '"\\ud83d\\ude00"']
)
def test_any_json_may_be_input(http: httpx2.Client, number: str) -> None:
    body = f'{{"runtime": "node", "code": "export default () => 1", "input": {number}}}'
    answer = http.post("/v1/workloads", content=body, headers=JSON).json()
    assert (answer["status"], answer["output"]) == ("completed", 1), answer


def upload(http: httpx2.Client, archive: bytes, spec: dict[str, Any] | None = None) -> httpx2.Response:
    text = json.dumps(spec or {"runtime": "node"}).encode()
    return http.post("/v1/workloads", files={"spec": ("spec.json", text), "archive": ("a.tar.gz", archive)})


def encoded(http: httpx2.Client, archive: bytes, spec: dict[str, Any] | None = None) -> httpx2.Response:
    body = (spec or {"runtime": "node"}) | {"code_archive": base64.b64encode(archive).decode()}
    return http.post("/v1/workloads", json=body)


@pytest.mark.parametrize("send", [upload, encoded])
def test_an_archive_runs_whichever_way_it_comes(http: httpx2.Client, server: Server, send: Any) -> None:
    answer = send(http, PROJECT).json()
    assert (answer["status"], answer["output"]) == ("completed", 7), answer
    wait_until(lambda: not list((server.data_dir / "uploads").iterdir()), "the archive to be removed", 10)


@pytest.mark.parametrize("send", [upload, encoded])
@pytest.mark.parametrize(
    "archive",
    [
        tar_gz(MAIN, entry("/etc/cron.d/x", b"1")),
        tar_gz(MAIN, entry("a/../../x", b"1")),
        tar_gz(MAIN, entry("link", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
        tar_gz(MAIN, entry("link", type=tarfile.LNKTYPE, linkname="main.ts")),
        tar_gz(MAIN, entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
        tar_gz(MAIN, entry("disk", type=tarfile.BLKTYPE, devmajor=8)),
        tar_gz(MAIN, entry("pipe", type=tarfile.FIFOTYPE)),
        tar_gz(MAIN, entry("hole", b"x", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": "9" * 15})),
        tar_gz(MAIN, entry("deep", pax_headers={"path": "d/" * 10_000})),
        tar_gz(MAIN, MAIN),
        tar_gz(MAIN, *(entry(str(number)) for number in range(10_001))),
        tar_gz(MAIN, entry("zeros", bytes(600 << 20))),
        tar_gz(MAIN)[:-9],
        b"no archive",
    ],
    ids=[
        "absolute",
        "up",
        "symlink",
        "hardlink",
        "char",
        "block",
        "fifo",
        "sparse",
        "deep",
        "twice",
        "many",
        "bomb",
        "cut",
        "text",
    ],
)
def test_a_bad_archive_is_refused_and_not_kept(
    http: httpx2.Client, server: Server, count: Any, send: Any, archive: bytes
) -> None:
    before = count()
    answer = send(http, archive)
    member = "archive" if send is upload else "code_archive"
    assert (answer.status_code, answer.json()["reason"], answer.json()["member"]) == (400, "bad_archive", member)
    assert count() == before
    assert not list((server.data_dir / "uploads").iterdir())


def test_an_archive_without_a_file_to_run_is_refused_and_not_kept(http: httpx2.Client, server: Server) -> None:
    answer = upload(http, tar_gz(entry("README", b"1")))
    assert (answer.status_code, answer.json()["member"]) == (422, "entrypoint")
    assert not list((server.data_dir / "uploads").iterdir())


def test_a_web_page_cannot_run_code_here(http: httpx2.Client, count: Any) -> None:
    before = count()
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert http.post("/v1/workloads", json=GOOD, headers=headers).status_code == 403
    form = {"Content-Type": "text/plain"}
    assert http.post("/v1/workloads", content=json.dumps(GOOD), headers=form).status_code == 415
    assert count() == before


def test_uploads_are_readable_by_the_server_only(server: Server) -> None:
    folder = Path(server.data_dir / "uploads")
    assert folder.stat().st_mode & 0o077 == 0
