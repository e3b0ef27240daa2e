"""Only this machine's own names and pages may talk to a server without keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from caisson.api.listener import is_loopback_name, is_same_origin, parse_authority
from tests.unit.api.doubles import EngineDouble, client, make_app

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", ("localhost", 80)),
        ("LocalHost.:8080", ("localhost", 8080)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:8080", ("[::1]", 8080)),
        ("", None),
        ("a b", None),
        ("user@localhost", None),
        ("localhost:x", None),
        ("localhost:123456", None),
        ("::1", None),
        ("localhost\n", None),
    ],
)
def test_a_host_header_is_a_name_and_a_port(text: str, expected: tuple[str, int] | None) -> None:
    assert parse_authority(text, "http") == expected


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.255.0.9", "[::1]"])
def test_loopback_names_mean_this_machine(host: str) -> None:
    assert is_loopback_name(host)


@pytest.mark.parametrize("host", ["localhost.evil.com", "evil-localhost", "10.0.0.1", "[::2]", "0.0.0.0", "127.1"])
def test_other_names_do_not(host: str) -> None:
    assert not is_loopback_name(host)


def test_an_origin_is_the_same_only_if_scheme_host_and_port_are() -> None:
    host = ("localhost", 8080)
    assert is_same_origin("http://localhost:8080", "http", host)
    assert is_same_origin("http://localhost", "http", ("localhost", 80))
    for origin in ("null", "", "https://localhost:8080", "http://localhost", "http://127.0.0.1:8080", "http://evil"):
        assert not is_same_origin(origin, "http", host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:9", "x.localhost", "caisson.example:443"])
async def test_a_loopback_host_and_a_trusted_one_are_served(host: str, tmp_path: Path) -> None:
    app = make_app(EngineDouble(), tmp_path, trusted_hosts=("Caisson.example",))
    async with client(app) as http:
        assert (await http.get("/healthz", headers={"Host": host})).status_code == 200


async def test_a_rebound_name_is_refused(tmp_path: Path) -> None:
    async with client(make_app(EngineDouble(), tmp_path)) as http:
        answer = await http.get("/v1/workloads", headers={"Host": "evil.example:8080"})
    assert (answer.status_code, answer.json()["reason"], answer.json()["member"]) == (403, "forbidden", "Host")


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["a b"]])
async def test_a_request_needs_exactly_one_valid_host(hosts: list[str], tmp_path: Path) -> None:
    async with client(make_app(EngineDouble(), tmp_path)) as http:
        request = http.build_request("GET", "/healthz")
        del request.headers["Host"]
        request.headers = type(request.headers)([("Host", host) for host in hosts])
        assert (await http.send(request)).status_code == 400


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "PUT"])
@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://localhost:9999", "https://localhost:8080"])
async def test_a_foreign_page_is_refused_whatever_the_method(method: str, origin: str, tmp_path: Path) -> None:
    engine = EngineDouble()
    async with client(make_app(engine, tmp_path)) as http:
        answer = await http.request(
            method, "/v1/workloads", headers={"Origin": origin}, json={"runtime": "node", "code": "1"}
        )
    assert (answer.status_code, answer.json()["member"]) == (403, "Origin")
    assert not engine.submissions


async def test_a_page_of_the_server_itself_is_served(tmp_path: Path) -> None:
    async with client(make_app(EngineDouble(), tmp_path)) as http:
        answer = await http.get("/v1/workloads", headers={"Origin": "http://localhost:8080"})
    assert answer.status_code == 200


async def test_every_answer_carries_the_security_headers(tmp_path: Path) -> None:
    async with client(make_app(EngineDouble(), tmp_path)) as http:
        for path, host in (("/healthz", "localhost"), ("/nowhere", "localhost"), ("/healthz", "evil")):
            answer = await http.get(path, headers={"Host": host})
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


async def test_a_fault_of_ours_is_a_problem_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = EngineDouble()
    monkeypatch.setattr(engine, "readiness", None)
    async with client(make_app(engine, tmp_path)) as http:
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (500, "internal")
    assert "NoneType" not in answer.text
