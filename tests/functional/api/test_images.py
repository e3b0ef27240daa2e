"""Images are pulled and built through the API, with their progress, and by the operator only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from caisson.images.catalog import Catalog, Image
from caisson.images.signing import make_key
from caisson.images.sources import open_target
from caisson.images.transfer import host_arch, push
from tests.helpers.images import small_image
from tests.helpers.server import Server

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("mkfs.erofs") is None, reason="mkfs.erofs is not installed"),
]
PATIENCE_S = 60


@pytest.fixture
def key(tmp_path: Path) -> str:
    """A public key; the private one lies beside."""
    return make_key(tmp_path / "key.pem")


@pytest.fixture
async def source(tmp_path: Path, key: str) -> Image:
    """A signed image of the name `base` in the folder `source`."""
    catalog = Catalog(tmp_path / "origin")
    image = await in_thread(small_image, catalog, "base", packed=True, arch=host_arch())
    async with open_target(str(tmp_path / "source")) as target:
        await push(image, target, key=tmp_path / "key.pem")
    return image


async def in_thread(function: Callable[..., Image], *arguments: Any, **options: Any) -> Image:
    import asyncio

    return await asyncio.to_thread(function, *arguments, **options)


def events(http: httpx2.Client, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with http.stream("GET", f"/v1/images/jobs/{job_id}/events", timeout=PATIENCE_S) as response:
        name = ""
        for line in response.iter_lines():
            kind, _, text = line.partition(": ")
            if kind == "event":
                name = text
            elif kind == "data":
                yield name, json.loads(text)


async def test_a_pull_is_followed_to_its_end_and_the_image_is_there(
    start_server: Callable[..., Server], tmp_path: Path, source: Image, key: str
) -> None:
    with start_server(images_source=str(tmp_path / "source"), images_keys=key).client() as http:
        before = http.get("/v1/images").json()
        assert before["images"] == []
        assert {"name": "base", "built": False}.items() <= before["buildable"][0].items()
        accepted = http.post("/v1/images/base/pull")
        assert accepted.status_code == 202
        job = accepted.json()
        assert accepted.headers["location"] == f"/v1/images/jobs/{job['id']}"
        seen = list(events(http, job["id"]))
        assert {name for name, _ in seen[:-1]} <= {"progress"}
        name, done = seen[-1]
        assert (name, done["status"], done["digest"], done["error"]) == ("done", "completed", source.digest, None)
        assert http.get(accepted.headers["location"]).json() == done
        after = http.get("/v1/images").json()
        assert [(image["name"], image["digest"], image["current"]) for image in after["images"]] == [
            ("base", source.digest, True)
        ]
        assert after["jobs"] == [done]
        assert list(events(http, job["id"])) == [("done", done)]


async def test_a_pull_of_what_nobody_trusted_signed_fails_and_says_why(
    start_server: Callable[..., Server], tmp_path: Path, source: Image
) -> None:
    other = make_key(tmp_path / "other.pem")
    with start_server(images_source=str(tmp_path / "source"), images_keys=other).client() as http:
        job = http.post("/v1/images/base/pull").json()
        name, done = list(events(http, job["id"]))[-1]
        assert (name, done["status"]) == ("done", "failed")
        assert "whom this machine does not trust" in done["error"]
        assert http.get("/v1/images").json()["images"] == []


def test_what_cannot_be_is_refused(start_server: Callable[..., Server]) -> None:
    with start_server().client() as http:
        for path, status, member in [
            ("/v1/images/nothing/build", 404, "name"),
            ("/v1/images/nothing/pull", 404, "name"),
            ("/v1/images/base/pull", 422, "name"),
        ]:
            refused = http.post(path)
            assert (refused.status_code, refused.json().get("member")) == (status, member)
        for path in ("/v1/images/jobs/x", "/v1/images/jobs/01J00000000000000000000000/events"):
            assert http.get(path).status_code == 404


def half_made(server: Server) -> list[Path]:
    """What a build has on disk while it goes on: in the folder of images, and mmdebstrap's own."""
    return [*(server.data_dir / "images" / ".staging").iterdir(), *(server.folder / "tmp").glob("mmdebstrap.*")]


@pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed")
def test_a_cancelled_build_is_over_and_leaves_nothing(start_server: Callable[..., Server]) -> None:
    server = start_server()
    with server.client() as http:
        path = http.post("/v1/images/base/build").headers["location"]
        next(event for event in events(http, path[-26:]) if event[1]["step"] != "waiting for its turn")
        assert half_made(server) != []
        cancelled = http.delete(path).json()
        assert (cancelled["status"], cancelled["error"]) == ("cancelled", None)
        assert cancelled["finished_at"] is not None
        assert half_made(server) == []
        assert http.get(path).json() == cancelled
        assert list(events(http, cancelled["id"])) == [("done", cancelled)]
        again = http.delete(path)
        assert (again.status_code, again.json()["member"]) == (409, "id")
        # The next one gets its turn.
        assert http.post("/v1/images/base/build").status_code == 202


@pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed")
def test_a_server_that_stops_ends_its_build_and_leaves_nothing(
    start_server: Callable[..., Server],
) -> None:
    server = start_server()
    with server.client() as http:
        job = http.post("/v1/images/base/build").json()
        assert job["status"] == "running"
        assert http.post("/v1/images/base/build").status_code == 409
        next(event for event in events(http, job["id"]) if event[1]["step"] != "waiting for its turn")
    server.stop()
    assert half_made(server) == []


def test_only_the_operator_may_start_a_job(start_server: Callable[..., Server], tmp_path: Path) -> None:
    from tests.helpers.command import caisson
    from tests.helpers.server import free_port

    data_dir = tmp_path / "server" / "data"
    keys = {
        scope: caisson("keys", "create", "--scope", scope, "--data-dir", data_dir, cwd=tmp_path).stdout.strip()
        for scope in ("run", "admin")
    }
    port = free_port()
    start_server(listen=f"0.0.0.0:{port}")
    for scope, status in {"run": 403, "admin": 404}.items():
        headers = {"Authorization": f"Bearer {keys[scope]}"}
        answer = httpx2.post(f"http://127.0.0.1:{port}/v1/images/nothing/build", headers=headers, trust_env=False)
        assert answer.status_code == status
