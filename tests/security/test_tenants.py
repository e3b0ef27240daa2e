"""Two tenants on one server: nothing of the one exists for the other, and neither can take the other's share."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.helpers.command import caisson
from tests.helpers.processes import descendants
from tests.helpers.server import Server, free_port, wait_until

SLEEP = "await new Promise((go) => setTimeout(go, 60_000))"


@dataclass
class Place:
    """A server with keys, its data folder, and a client for each of three keys."""

    server: Server
    data_dir: Path
    cwd: Path
    secrets: dict[str, str]
    a: httpx2.Client
    b: httpx2.Client
    boss: httpx2.Client

    def command(self, *arguments: str) -> str:
        """Run `caisson ARGUMENTS` on the server's data folder."""
        done = caisson(*arguments, "--data-dir", self.data_dir, cwd=self.cwd)
        assert done.code == 0, done.stderr
        return done.stdout.strip()

    def limit(self, tenant: str, *options: str) -> None:
        """Set a tenant's policy, and wait until the server knows."""
        self.command("tenants", "set", tenant, *options)

        time.sleep(1.1)


@pytest.fixture
def place(start_server: Callable[..., Server], tmp_path: Path) -> Iterator[Place]:
    data = tmp_path / "server" / "data"

    def make_key(*options: str) -> str:
        return caisson("keys", "create", *options, "--data-dir", data, cwd=tmp_path).stdout.strip()

    secrets = {name: make_key("--tenant", name) for name in "ab"} | {"boss": make_key("--scope", "admin")}
    port = free_port()
    server = start_server(listen=f"0.0.0.0:{port}", log_level="debug")
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(
                httpx2.Client(
                    base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": secret}, trust_env=False, timeout=60
                )
            )
            for name, secret in secrets.items()
        }
        yield Place(server, data, tmp_path, secrets, **clients)


def submit(http: httpx2.Client, code: str = "1", **more: Any) -> httpx2.Response:
    return http.post("/v1/workloads/async", json={"runtime": "node", "code": code, **more})


def test_what_is_anothers_does_not_exist(place: Place) -> None:
    ended = place.a.post("/v1/workloads", json={"runtime": "node", "code": "console.log(1)"}).json()["id"]
    running = submit(place.a, f"console.log('secret'); {SLEEP}", labels={"team": "a"}).json()["id"]
    wait_until(lambda: place.a.get(f"/v1/workloads/{running}").json()["status"] == "running", "it to run", 20)
    nobody = "01J00000000000000000000000"
    for workload_id in (ended, running):
        for method, rest in (
            ("GET", ""),
            ("GET", "?wait=1"),
            ("DELETE", ""),
            ("GET", "/logs"),
            ("GET", "/logs/history"),
            ("GET", "/spec"),
        ):
            theirs = place.b.request(method, f"/v1/workloads/{workload_id}{rest}")
            unknown = place.b.request(method, f"/v1/workloads/{nobody}{rest}")
            # Not even the text differs, so that nobody learns which ids exist.
            assert theirs.status_code == unknown.status_code == 404
            assert theirs.text.replace(workload_id, nobody) == unknown.text
    assert place.b.get("/v1/workloads").json()["total"] == 0
    assert place.b.get("/v1/workloads", params={"label": "team=a"}).json()["total"] == 0
    stats = place.b.get("/v1/stats").json()
    assert sum(stats["counts"]["status"].values()) == sum(stats["counts"]["runtime"].values()) == 0
    assert (stats["latency"], stats["series"], stats["queued"], stats["running"], stats["host"]) == ([], [], 0, 0, None)
    with place.b.stream("GET", "/v1/events", params={"seconds": 0.5}) as news:
        text = "".join(news.iter_text())
    assert running not in text
    assert '"running":0' in text
    for path in ("/v1/doctor", "/v1/nodes", "/v1/audit"):
        assert place.b.get(path).status_code == 403
    # Whose key may see nodes learns what is in use there, and no ids but those of its own tenant.
    of_a, of_b = ({"X-API-Key": place.command("keys", "create", "--tenant", name, "--scope", "admin")} for name in "ab")
    for headers, ids in ((of_a, [running]), (of_b, [])):
        (node,) = place.boss.get("/v1/nodes", headers=headers).json()
        alone = place.boss.get(f"/v1/nodes/{node['id']}", headers=headers).json()
        assert (node["running"], alone["running"], node["used"]["workloads"]) == (ids, ids, 1)
    # The same Idempotency-Key of two tenants is two keys.
    headers = {"Idempotency-Key": "one"}
    first, second = (
        http.post("/v1/workloads/async", json={"runtime": "node", "code": "1"}, headers=headers)
        for http in (place.a, place.b)
    )
    assert first.json()["id"] != second.json()["id"]
    assert place.a.delete(f"/v1/workloads/{running}").json()["status"] == "killed"


def test_each_quota_is_told_by_its_name_and_when_to_come_again(place: Place) -> None:
    def refused(http: httpx2.Client, **more: Any) -> str:
        answer = submit(http, SLEEP, **more)
        problem = answer.json()
        assert (answer.status_code, problem["reason"]) == (429, "quota_exceeded"), answer.text
        assert int(answer.headers["Retry-After"]) >= 1
        assert f"`{problem['member'].removeprefix('resources.')}`" in problem["detail"]
        return str(problem["detail"])

    place.limit("a", "--concurrent", "1")
    held = submit(place.a, SLEEP).json()["id"]
    assert "`concurrent`" in refused(place.a)
    assert place.a.post("/v1/workloads", json={"runtime": "node", "code": "1"}).status_code == 429
    assert submit(place.b).status_code == 202
    compared = {"workload": {"runtime": "node", "code": "1"}}
    assert place.a.post("/v1/benchmarks", json=compared).json()["member"] == "concurrent"
    place.limit("a", "--mem-mb", "300")
    assert "`mem_mb`" in refused(place.a)
    assert place.a.post("/v1/benchmarks", json=compared).json()["member"] == "workload.resources.mem_mb"
    assert submit(place.a, resources={"mem_mb": 32}).status_code == 202
    assert place.a.delete(f"/v1/workloads/{held}").status_code == 200
    place.limit("a", "--per-minute", "2")
    for _ in range(2):
        assert submit(place.a).status_code == 202
    assert "`per_minute`" in refused(place.a)
    place.limit("a", "--cpu-s-per-day", "1")
    burn = "const end = Date.now() + 1500; while (Date.now() < end);"
    for _ in range(10):  # on a busy machine, a second and a half is little CPU time
        answer = place.a.post("/v1/workloads", json={"runtime": "node", "code": burn})
        if answer.status_code == 429:
            break
        assert answer.json()["status"] == "completed"
    assert "`cpu_s_per_day`" in refused(place.a)
    place.command("tenants", "rm", "a")
    wait_until(lambda: submit(place.a).status_code == 202, "the limits to be gone", 10)


def test_a_tenant_gets_nothing_weaker_than_its_least_isolation(place: Place) -> None:
    place.limit("a", "--least-isolation", "microvm")
    for isolation, member in (("auto", "runtime"), ("isolate", "isolation")):
        answer = submit(place.a, isolation=isolation)
        assert (answer.status_code, answer.json()["reason"], answer.json()["member"]) == (422, "unsupported", member)
        assert "microvm" in answer.json()["detail"]
    weak = place.a.post(
        "/v1/benchmarks", json={"workload": {"runtime": "node", "code": "1"}, "isolations": ["isolate"]}
    )
    assert weak.status_code == 422
    assert submit(place.b).status_code == 202


def test_a_revoked_key_ends_at_once_and_guessing_is_barred(place: Place) -> None:
    assert place.a.get("/v1/workloads").status_code == place.boss.get("/v1/workloads").status_code == 200
    place.command("keys", "revoke", place.secrets["a"].split("_")[1])
    assert place.a.get("/v1/workloads").status_code == 401
    secret = place.secrets["b"]
    near = [
        secret[:-1] + ("0" if secret[-1] != "0" else "1"),
        secret.upper(),
        secret[:-1],
        secret + "0",
        secret[1:],
    ]
    codes = [place.boss.get("/v1/workloads", headers={"X-API-Key": key}).status_code for key in near * 4]
    assert set(codes) == {401, 429}
    assert codes[-1] == 429
    # A guesser next door keeps nobody out who was in before.
    # Who guesses is not made to wait for the disk: the entry comes a moment after the answer.
    barred = {"action": "key.barred"}
    wait_until(lambda: bool(place.boss.get("/v1/audit", params=barred).json()["entries"]), "the bar to be noted", 10)


def test_what_waits_with_a_key_ends_when_the_key_does(place: Place) -> None:
    workload_id = submit(place.a, f"console.log('on'); {SLEEP}").json()["id"]
    for_a_while = place.command("keys", "create", "--tenant", "a", "--expires", "8s")
    seen: dict[str, str | int] = {}

    def follow(name: str, headers: dict[str, str]) -> None:
        with place.a.stream("GET", f"/v1/workloads/{workload_id}/logs", headers=headers) as stream:
            seen[name] = "".join(stream.iter_text())

    def wait() -> None:
        seen["waiting"] = place.a.get(f"/v1/workloads/{workload_id}", params={"wait": 50}).status_code

    def run() -> None:
        body = {"runtime": "node", "code": SLEEP, "labels": {"while": "waiting"}}
        seen["running"] = place.a.post("/v1/workloads", json=body).status_code

    def watch() -> None:
        with place.a.stream("GET", "/v1/events") as stream:
            seen["changes"] = "".join(stream.iter_text())

    works = [lambda: follow("revoked", {}), lambda: follow("expired", {"X-API-Key": for_a_while}), wait, watch, run]
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    metric = "caisson_log_streams_open 2.0"
    wait_until(lambda: metric in place.boss.get("/metrics").text, "the streams to be open", 20)
    waited_for = {"label": "while=waiting", "status": "running"}
    wait_until(lambda: place.a.get("/v1/workloads", params=waited_for).json()["total"] == 1, "the run to begin", 20)
    place.command("keys", "revoke", place.secrets["a"].split("_")[1])
    for thread in threads:
        thread.join(timeout=20)
    assert set(seen) == {"revoked", "expired", "waiting", "changes", "running"}, "a stream outlives its key"
    assert seen["waiting"] == seen["running"] == 401
    of_a = {"X-API-Key": place.command("keys", "create", "--tenant", "a")}
    (left,) = place.a.get("/v1/workloads", params={"label": "while=waiting"}, headers=of_a).json()["workloads"]
    assert left["status"] == "killed"
    for name in ("revoked", "expired"):
        assert '"on"' in str(seen[name])
        assert "event: done" not in str(seen[name])


def test_the_audit_log_tells_who_did_what(place: Place) -> None:
    workload_id = submit(place.a, SLEEP).json()["id"]
    place.a.delete(f"/v1/workloads/{workload_id}")
    place.limit("a", "--weight", "2")
    prefix = place.secrets["a"].split("_")[1]
    told = place.boss.get("/v1/audit").json()["entries"]
    assert [(entry["tenant"], entry["actor"], entry["action"], entry["target"]) for entry in told[:3]] == [
        ("a", "command", "tenant.set", "a"),
        ("a", prefix, "workload.kill", workload_id),
        ("a", prefix, "workload.run", workload_id),
    ]
    created = place.boss.get("/v1/audit", params={"action": "key.create", "of": "a"}).json()["entries"]
    assert [entry["target"] for entry in created] == [prefix]


def test_no_secret_is_in_logs_metrics_errors_or_what_other_processes_can_see(place: Place) -> None:
    hidden = {"code": "SECRET_IN_CODE", "input": "SECRET_IN_INPUT", "env": "SECRET_IN_ENV"}
    body = {
        "runtime": "node",
        "code": f"// {hidden['code']}\nawait new Promise((go) => setTimeout(go, 60_000))",
        "input": hidden["input"],
        "env": {"TOKEN": hidden["env"]},
    }
    workload_id = place.a.post("/v1/workloads/async", json=body).json()["id"]
    wait_until(lambda: place.a.get(f"/v1/workloads/{workload_id}").json()["status"] == "running", "it to run", 20)
    place.a.get("/v1/workloads", headers={"X-API-Key": place.secrets["b"][:-3] + "zzz"})
    malformed = place.a.post(
        "/v1/workloads", content=json.dumps(body)[:-1], headers={"Content-Type": "application/json"}
    )
    wanted = [*hidden.values(), *place.secrets.values()]
    seen = {"metrics": place.boss.get("/metrics").text, "error": malformed.text, "log": place.server.log()}
    inner = {process.pid for process in descendants(place.server.process.pid)}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            for name in ("cmdline", "environ"):
                try:
                    text = (process / name).read_bytes().decode("utf-8", "replace")
                except OSError:
                    continue
                # A program's own environment is the one place where its values belong.
                if not (name == "environ" and int(process.name) in inner):
                    seen[f"{process}/{name}"] = text
    place.a.delete(f"/v1/workloads/{workload_id}")
    seen["log"] = place.server.log()
    found = {(where, secret) for where, text in seen.items() for secret in wanted if secret in text}
    assert found == set()
