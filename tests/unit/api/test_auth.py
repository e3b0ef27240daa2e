"""Off loopback nothing is done without a valid key of the right scope, and a tenant is what its key says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.api.doubles import KNOWN_ID, NOW, EngineDouble, KeysDouble, client, make_app

pytestmark = pytest.mark.anyio
EVERYWHERE = {"listen": "0.0.0.0:8080"}


@pytest.fixture
def keys() -> KeysDouble:
    keys = KeysDouble()
    keys.add("reader", "read")
    keys.add("runner", "run")
    keys.add("boss", "admin")
    keys.add("stranger", "read", tenant="other")
    keys.add("revoked", "admin", revoked_at=NOW)
    keys.add("expired", "admin", expires_at=NOW)
    keys.add("lasting", "read", expires_at=datetime.now(UTC) + timedelta(hours=1))
    return keys


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic eDp5"}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}])
async def test_without_a_valid_key_nothing_is_answered(
    headers: dict[str, str], tmp_path: Path, keys: KeysDouble
) -> None:
    async with client(make_app(EngineDouble(), tmp_path, keys, **EVERYWHERE), headers=headers) as http:
        for path in ("/v1/workloads", "/metrics", "/nowhere"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["reason"]) == (401, "unauthenticated")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_health_and_description_need_no_key(tmp_path: Path, keys: KeysDouble) -> None:
    async with client(make_app(EngineDouble(), tmp_path, keys, **EVERYWHERE)) as http:
        for path in ("/healthz", "/readyz", "/openapi.json"):
            assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize("secret", ["revoked", "expired", "k" * 300, "caf\u00e9"])
async def test_a_key_out_of_force_is_no_key(secret: str, tmp_path: Path, keys: KeysDouble) -> None:
    headers = {b"Authorization": f"Bearer {secret}".encode("latin-1")}
    async with client(make_app(EngineDouble(), tmp_path, keys, **EVERYWHERE)) as http:
        assert (await http.get("/v1/workloads", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    ("secret", "read", "run", "nodes"),
    [("reader", 200, 403, 403), ("runner", 403, 200, 403), ("boss", 200, 200, 200), ("lasting", 200, 403, 403)],
)
async def test_a_key_does_what_its_scopes_say(
    secret: str, read: int, run: int, nodes: int, tmp_path: Path, keys: KeysDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_nodes(tenant: str) -> list[object]:
        return []

    engine = EngineDouble()
    monkeypatch.setattr(engine, "nodes", no_nodes, raising=False)
    async with client(make_app(engine, tmp_path, keys, **EVERYWHERE), headers={"X-API-Key": secret}) as http:
        assert (await http.get("/v1/workloads")).status_code == read
        assert (await http.post("/v1/workloads", json={"runtime": "node", "code": "1"})).status_code == run
        assert (await http.get("/v1/nodes")).status_code == nodes


async def test_a_tenant_is_told_that_what_is_not_its_own_does_not_exist(tmp_path: Path, keys: KeysDouble) -> None:
    async with client(make_app(EngineDouble(), tmp_path, keys, **EVERYWHERE)) as http:
        headers = {"Authorization": "bearer stranger"}
        assert (await http.get(f"/v1/workloads/{KNOWN_ID}", headers=headers)).status_code == 404
        assert (await http.get(f"/v1/workloads/{KNOWN_ID}/logs", headers=headers)).status_code == 404


async def test_a_revoked_key_ends_at_once(tmp_path: Path, keys: KeysDouble) -> None:
    async with client(make_app(EngineDouble(), tmp_path, keys, **EVERYWHERE), headers={"X-API-Key": "reader"}) as http:
        assert (await http.get("/v1/workloads")).status_code == 200
        keys.add("reader", "read", revoked_at=NOW)
        assert (await http.get("/v1/workloads")).status_code == 401


async def test_the_use_of_a_key_is_noted_now_and_then(tmp_path: Path, keys: KeysDouble) -> None:
    keys.add("recent", "read", last_used_at=datetime.now(UTC))
    async with client(make_app(EngineDouble(), tmp_path, keys, **EVERYWHERE)) as http:
        for secret in ("reader", "recent", "wrong"):
            await http.get("/v1/workloads", headers={"X-API-Key": secret})
    assert keys.touched == [keys.keys["reader"].digest]


async def test_a_store_that_fails_is_told_as_such(tmp_path: Path, keys: KeysDouble) -> None:
    keys.fails = True
    async with client(make_app(EngineDouble(), tmp_path, keys, **EVERYWHERE), headers={"X-API-Key": "reader"}) as http:
        answer = await http.get("/v1/workloads")
    assert (answer.status_code, answer.json()["reason"]) == (503, "storage")
    assert "Retry-After" in answer.headers


async def test_on_loopback_a_key_is_not_needed_but_a_wrong_one_is_refused(tmp_path: Path, keys: KeysDouble) -> None:
    async with client(make_app(EngineDouble(), tmp_path, keys)) as http:
        assert (await http.get("/v1/workloads")).status_code == 200
        assert (await http.get("/v1/workloads", headers={"X-API-Key": "reader"})).status_code == 200
        assert (await http.get("/v1/workloads", headers={"X-API-Key": "wrong"})).status_code == 401


async def test_off_loopback_any_host_name_is_served(tmp_path: Path, keys: KeysDouble) -> None:
    async with client(make_app(EngineDouble(), tmp_path, keys, **EVERYWHERE)) as http:
        headers = {"Host": "caisson.example", "X-API-Key": "reader"}
        assert (await http.get("/v1/workloads", headers=headers)).status_code == 200


async def test_of_two_keys_the_one_in_authorization_counts(tmp_path: Path, keys: KeysDouble) -> None:
    async with client(make_app(EngineDouble(), tmp_path, keys, **EVERYWHERE)) as http:
        headers = {"X-API-Key": "wrong", "Authorization": "Bearer reader"}
        assert (await http.get("/v1/workloads", headers=headers)).status_code == 200
