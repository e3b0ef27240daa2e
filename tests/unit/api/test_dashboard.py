"""The dashboard's files are served beside the API, with headers of their own, and never instead of it."""

from __future__ import annotations

import gzip
from pathlib import Path

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from caisson.api.dashboard import Dashboard, content_security_policy, is_public
from tests.unit.api.doubles import EngineDouble, KeysDouble, client, make_app

pytestmark = pytest.mark.anyio


async def otherwise(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"the API's own answer"})


def make_bundle(folder: Path) -> Path:
    (folder / "assets").mkdir()
    (folder / "index.html").write_text('<meta name="csp-nonce" content="{{nonce}}" />')
    (folder / "assets" / "main-1.js").write_text("1")
    (folder / "assets" / "main-1.js.gz").write_bytes(gzip.compress(b"1"))
    (folder / ".stamp").write_text("not served")
    return folder


def browser(bundle: Path) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=Dashboard(otherwise, bundle))
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost")


@pytest.mark.parametrize("path", ["/", "/new", "/workloads", "/workloads/01J00000000000000000000000", "/docs/a/b"])
async def test_a_page_is_the_document_with_a_nonce_of_its_own(path: str, tmp_path: Path) -> None:
    async with browser(make_bundle(tmp_path)) as http:
        first, second = await http.get(path), await http.get(path)
    assert (first.status_code, first.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert first.headers["Cache-Control"] == "no-store"
    nonce = first.text.split('content="')[1].split('"')[0]
    assert first.headers["Content-Security-Policy"] == content_security_policy(nonce)
    assert first.text != second.text


async def test_assets_never_change_and_come_compressed_where_that_is_understood(tmp_path: Path) -> None:
    async with browser(make_bundle(tmp_path)) as http:
        packed = await http.get("/assets/main-1.js")
        plain = await http.get("/assets/main-1.js", headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    for answer in (packed, plain):
        assert answer.text == "1"
        assert answer.headers["Content-Type"].startswith("text/javascript")
        assert "immutable" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/v1/nothing", "/assets/gone.js", "/nowhere", "/.stamp", "/../dashboard.py"])
async def test_what_is_neither_page_nor_file_stays_the_apis(path: str, tmp_path: Path) -> None:
    async with browser(make_bundle(tmp_path)) as http:
        answer = await http.get(path)
    assert (answer.status_code, answer.text) == (404, "the API's own answer")


async def test_a_browser_on_a_wrong_path_gets_the_dashboards_own_page(tmp_path: Path) -> None:
    async with browser(make_bundle(tmp_path)) as http:
        page = await http.get("/nowhere", headers={"Accept": "text/html,*/*;q=0.8"})
        posted = await http.post("/new")
    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert posted.text == "the API's own answer"


async def test_a_server_without_a_bundle_says_how_to_build_it(tmp_path: Path) -> None:
    async with browser(tmp_path) as http:
        answer = await http.get("/")
    assert answer.status_code == 503
    assert "make web" in answer.text


def test_pages_and_files_need_no_key_but_nothing_else_goes_with_them() -> None:
    for path in ("/", "/new", "/workloads/x", "/assets/a.js", "/favicon.svg"):
        assert is_public(path)
    for path in ("/v1/workloads", "/metrics", "/v1/../new", "/newer", "//new", ""):
        assert not is_public(path)


async def test_a_page_can_be_opened_where_keys_are_needed_and_the_api_cannot(tmp_path: Path) -> None:
    async with client(make_app(EngineDouble(), tmp_path, KeysDouble(), listen="0.0.0.0:8080")) as http:
        assert (await http.get("/workloads")).status_code in (200, 503)
        assert (await http.get("/v1/workloads")).status_code == 401
        assert (await http.get("/nowhere")).status_code == 401


async def test_a_spec_shows_the_environment_so_it_needs_the_scope_of_whoever_may_run(tmp_path: Path) -> None:
    keys = KeysDouble()
    keys.add("reader", "read")
    async with client(make_app(EngineDouble(), tmp_path, keys), headers={"X-API-Key": "reader"}) as http:
        answer = await http.get("/v1/workloads/01J00000000000000000000000/spec")
    assert (answer.status_code, answer.json()["reason"]) == (403, "forbidden")
