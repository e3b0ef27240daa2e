"""Both clients against a server whose answers the test writes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from caisson import ApiError, Unreachable
from caisson.client import BadAnswer
from caisson.model import Status
from tests.helpers.double import Double, Reply, Request, answering, json_reply

ID = "01J00000000000000000000000"


def workload(status: str = "completed", **members: object) -> dict[str, object]:
    return {
        "id": ID,
        "status": status,
        "runtime": "node",
        "isolation": "auto",
        "created_at": "2026-01-02T03:04:05Z",
    } | members


@contextmanager
def talking(make: Any, answer: Callable[[Request], Reply], **keywords: Any) -> Iterator[tuple[Any, Double]]:
    with answering(answer) as double, make(double.url, **keywords) as client:
        yield client, double


def scripted(*replies: Reply) -> Callable[[Request], Reply]:
    waiting = list(replies)
    return lambda request: waiting.pop(0) if len(waiting) > 1 else waiting[0]


def test_run_posts_the_specification_and_returns_the_output_as_python(make: Any) -> None:
    with talking(make, scripted(json_reply(workload(output={"a": [1, None]})))) as (client, double):
        done = client.run(runtime="node", code="1", input={"n": 2}, timeout_s=3, labels={"team": "a"})
    assert done.output == {"a": [1, None]}
    assert done.status is Status.COMPLETED
    request = double.requests[0]
    assert (request.method, request.path) == ("POST", "/v1/workloads")
    sent = msgspec.json.decode(request.body)
    assert (sent["code"], sent["input"], sent["labels"], sent["resources"]["timeout_s"]) == (
        "1",
        {"n": 2},
        {"team": "a"},
        3,
    )


def test_members_of_an_answer_that_this_client_does_not_know_are_ignored(make: Any) -> None:
    with talking(make, scripted(json_reply(workload(invented_later=1)))) as (client, _):
        assert client.get(ID).id == ID


def test_a_folder_is_sent_as_an_archive_beside_the_specification(make: Any, tmp_path: Path) -> None:
    (tmp_path / "main.js").write_text("1")
    with talking(make, scripted(json_reply(workload("pending"), 202))) as (client, double):
        client.submit(runtime="node", archive=tmp_path, idempotency_key="k")
    request = double.requests[0]
    assert request.path == "/v1/workloads/async"
    assert request.headers["content-type"].startswith("multipart/form-data")
    assert request.headers["idempotency-key"] == "k"
    assert b'name="spec"' in request.body
    assert b"\x1f\x8b" in request.body
    assert int(request.headers["content-length"]) == len(request.body)


def test_the_key_is_sent_with_every_request(make: Any) -> None:
    with talking(make, scripted(json_reply([])), api_key="csn_a_b") as (client, double):
        client.backends()
    assert double.requests[0].headers["authorization"] == "Bearer csn_a_b"


def test_address_and_key_come_from_the_environment(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(scripted(json_reply([]))) as double:
        monkeypatch.setenv("CAISSON_API", double.url.removeprefix("http://"))
        monkeypatch.setenv("CAISSON_API_KEY", "csn_env")
        with make() as client:
            client.nodes()
    assert double.requests[0].headers["authorization"] == "Bearer csn_env"


def test_a_proxy_in_the_environment_is_not_asked(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with talking(make, scripted(json_reply([]))) as (client, _):
        assert client.backends() == []


@pytest.mark.parametrize("address", ["ftp://host", "http://", "http://[::1", "https://host:port"])
def test_an_address_that_is_none_is_refused_at_once(make: Any, address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        make(address)


def test_a_problem_document_becomes_an_error_that_names_the_member(make: Any) -> None:
    problem = {
        "type": "about:blank",
        "title": "Unprocessable",
        "status": 422,
        "detail": "too much",
        "reason": "invalid_value",
        "member": "resources.mem_mb",
    }
    with talking(make, scripted(json_reply(problem, 422))) as (client, double), pytest.raises(ApiError) as caught:
        client.run(runtime="node", code="")
    error = caught.value
    assert (error.status, error.reason, error.member) == (422, "invalid_value", "resources.mem_mb")
    assert (error.message, error.retry_after_s) == ("too much", None)
    assert str(error) == "too much (at `resources.mem_mb`) [422 invalid_value]"
    assert len(double.requests) == 1


def test_a_refusal_that_is_no_problem_document_keeps_its_text(make: Any) -> None:
    with talking(make, scripted(Reply(404, [b"<h1>nginx</h1>"]))) as (client, _), pytest.raises(ApiError) as caught:
        client.get(ID)
    assert (caught.value.status, caught.value.reason, caught.value.message) == (404, None, "<h1>nginx</h1>")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"id": 3}', b'{"id": "\xff"}', b'{"x": ' + b"[" * 9999])
def test_an_answer_of_something_else_is_called_that(make: Any, body: bytes) -> None:
    with talking(make, scripted(Reply(200, [body]))) as (client, double), pytest.raises(BadAnswer, match=double.url):
        client.get(ID)


def test_a_redirect_is_not_followed(make: Any) -> None:
    elsewhere = Reply(307, headers={"Location": "http://127.0.0.1:1/"})
    with talking(make, scripted(elsewhere)) as (client, _), pytest.raises(BadAnswer, match="307"):
        client.get(ID)


def test_no_server_is_told_with_its_address_and_what_to_do(make: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nothing answers here
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with make(url) as client, pytest.raises(Unreachable, match=f"{url}.*caisson serve"):
            client.stats()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_reading_again_when_the_server_is_busy(make: Any, status: int) -> None:
    busy = Reply(status, headers={"Retry-After": "0"})
    with talking(make, scripted(busy, busy, json_reply(workload()))) as (client, double):
        assert client.get(ID).id == ID
    assert len(double.requests) == 3


def test_giving_up_on_a_server_that_stays_busy(make: Any) -> None:
    with talking(make, scripted(Reply(503))) as (client, double), pytest.raises(ApiError) as caught:
        client.get(ID)
    assert caught.value.status == 503
    assert len(double.requests) == 4


def test_a_server_that_asks_for_too_much_patience_is_not_waited_for(make: Any) -> None:
    with (
        talking(make, scripted(Reply(429, headers={"Retry-After": "3600"}))) as (client, double),
        pytest.raises(ApiError) as caught,
    ):
        client.get(ID)
    assert caught.value.retry_after_s == 3600
    assert len(double.requests) == 1


@pytest.mark.parametrize("broken", [Reply(503), Reply(200, [b"{"], cut=True)], ids=["busy", "cut off"])
def test_a_workload_without_key_is_never_sent_twice(make: Any, broken: Reply) -> None:
    with talking(make, scripted(broken)) as (client, double), pytest.raises((ApiError, Unreachable)):
        client.submit(runtime="node", code="")
    assert len(double.requests) == 1


@pytest.mark.parametrize("broken", [Reply(503), Reply(200, [b"{"], cut=True)], ids=["busy", "cut off"])
def test_a_workload_with_a_key_is_sent_again_with_the_same_key_and_body(
    make: Any, broken: Reply, tmp_path: Path
) -> None:
    (tmp_path / "main.js").write_text("1")
    with talking(make, scripted(broken, json_reply(workload("pending"), 202))) as (client, double):
        assert client.submit(runtime="node", archive=tmp_path, idempotency_key="once").status is Status.PENDING
    assert [request.headers["idempotency-key"] for request in double.requests] == ["once", "once"]
    archives = [request.body[request.body.index(b"\x1f\x8b") :].split(b"\r\n--")[0] for request in double.requests]
    assert archives[0] == archives[1]


def test_a_kill_is_never_repeated(make: Any) -> None:
    with talking(make, scripted(Reply(200, [b"{"], cut=True))) as (client, double), pytest.raises(Unreachable):
        client.kill(ID)
    assert [request.method for request in double.requests] == ["DELETE"]


def test_health_is_told_at_once(make: Any) -> None:
    with talking(make, scripted(Reply(503, headers={"Retry-After": "0"}), json_reply({}))) as (client, double):
        with pytest.raises(ApiError):
            client.health()
        client.health()
    assert [request.path for request in double.requests] == ["/readyz", "/readyz"]


def test_list_goes_through_all_pages(make: Any) -> None:
    def page(request: Request) -> Reply:
        last = "cursor=two" in request.path
        found = [workload(id=ID[:-1] + ("2" if last else "1"))]
        following = None if last else "two"
        return json_reply({"workloads": found, "total": 2, "next_cursor": following, "limit": 100, "offset": 0})

    with talking(make, page) as (client, double):
        assert [found.id[-1] for found in client.list(status="completed", label="team=a b")] == ["1", "2"]
    assert double.requests[0].path == "/v1/workloads?status=completed&label=team%3Da+b&limit=100"
    assert double.requests[1].path == "/v1/workloads?status=completed&label=team%3Da+b&limit=100&cursor=two"


def test_wait_polls_until_the_end(make: Any) -> None:
    with talking(make, scripted(json_reply(workload("running")), json_reply(workload("killed")))) as (client, double):
        assert client.wait(ID).status is Status.KILLED
    assert [request.path for request in double.requests] == [f"/v1/workloads/{ID}?wait=20"] * 2


def test_wait_gives_up_when_its_time_is_over(make: Any) -> None:
    with talking(make, scripted(json_reply(workload("running")))) as (client, _), pytest.raises(TimeoutError, match=ID):
        client.wait(ID, timeout_s=0)


def test_an_id_cannot_lead_elsewhere(make: Any) -> None:
    with talking(make, scripted(json_reply(workload()))) as (client, double):
        client.get("../stats?x")
    assert double.requests[0].path == "/v1/workloads/..%2Fstats%3Fx"


def test_history_asks_for_what_comes_behind(make: Any) -> None:
    line = {"seq": 5, "stream": "stdout", "line": "é", "ts": "2026-01-02T03:04:05Z"}
    with talking(make, scripted(json_reply({"workload_id": ID, "lines": [line], "next_seq": 5}))) as (client, double):
        page = client.history(ID, after=4, limit=10)
    assert (page.lines[0].line, page.next_seq) == ("é", 5)
    assert double.requests[0].path == f"/v1/workloads/{ID}/logs/history?limit=10&after=4"
