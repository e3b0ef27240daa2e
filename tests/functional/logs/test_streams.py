"""Log streams: whoever connects whenever sees every line once and in order, then `done`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import httpx2
import pytest

from tests.helpers.runs import Answer, events, logs, run, submit, wait
from tests.helpers.server import Server

COUNT_TO = "for (let i = 0; i < {n}; i++) {{ console.log(i); {pause} }}"
SLOWLY = "await new Promise((r) => setTimeout(r, 5))"


def lines_of(seen: list[tuple[str, Answer]]) -> list[int]:
    return [int(data["line"]) for kind, data in seen if kind == "line"]


def test_readers_at_any_moment_see_the_same_lines(server: Server) -> None:
    with server.client() as http:
        workload_id = submit(http, code=COUNT_TO.format(n=100, pause=SLOWLY))

    def read(_: int) -> list[tuple[str, Answer]]:
        with server.client() as http:
            return list(events(http, workload_id))

    with ThreadPoolExecutor(4) as threads:
        seen = list(threads.map(read, range(8)))
    for one in seen:
        assert lines_of(one) == list(range(100))
        assert [data["seq"] for kind, data in one if kind == "line"] == list(range(100))
        assert one[-1][0] == "done"


@pytest.mark.parametrize("last_id", [0, 17, 98, 99])
def test_a_reader_that_comes_back_goes_on_where_it_was(http: httpx2.Client, last_id: int) -> None:
    done = run(http, code=COUNT_TO.format(n=100, pause=""))
    assert lines_of(list(events(http, done["id"], last_id))) == list(range(last_id + 1, 100))


def test_a_reader_that_breaks_off_in_mid_stream_loses_nothing(http: httpx2.Client) -> None:
    workload_id = submit(http, code=COUNT_TO.format(n=200, pause=SLOWLY))
    seen: list[tuple[str, Answer]] = []
    while not seen or seen[-1][0] != "done":
        last_id = seen[-1][1]["seq"] if seen else None
        seen += islice(events(http, workload_id, last_id), 31)
    assert lines_of(seen) == list(range(200))


def test_a_finished_workload_replays_and_is_done(http: httpx2.Client) -> None:
    done = run(http, code="console.log('a')")
    for _ in range(2):
        assert [kind for kind, _ in events(http, done["id"])] == ["line", "done"]


@pytest.mark.serial
def test_a_million_short_lines_arrive_in_order(http: httpx2.Client) -> None:
    workload_id = submit(
        http,
        code="for (let i = 0; i < 1_000_000; i++) console.log(i)",
        resources={"timeout_s": 100, "max_output_bytes": 20_000_000},
    )
    numbers = (int(data["line"]) for kind, data in events(http, workload_id) if kind == "line")
    assert all(number == expected for expected, number in enumerate(numbers))
    assert wait(http, workload_id)["status"] == "completed"
    last = http.get(f"/v1/workloads/{workload_id}/logs/history", params={"after": 999_998}).json()
    assert [line["line"] for line in last["lines"]] == ["999999"]


def test_a_line_of_ten_megabytes_without_an_end_is_one_line(http: httpx2.Client) -> None:
    done = run(http, code="await Deno.stdout.write(new TextEncoder().encode('x'.repeat(10_000_000)))")
    assert done["status"] == "completed"
    assert [len(line["line"]) for line in logs(http, done["id"])] == [10_000_000]


def test_bytes_that_are_no_text_are_replaced_and_nuls_are_kept(http: httpx2.Client) -> None:
    done = run(http, code="await Deno.stdout.write(new Uint8Array([0x61, 0xff, 0x00, 0x62, 0x0a]))")
    assert [line["line"] for line in logs(http, done["id"])] == ["a\ufffd\0b"]


def test_a_slow_reader_holds_up_neither_the_program_nor_others(http: httpx2.Client, server: Server) -> None:
    workload_id = submit(
        http, code="for (let i = 0; i < 100_000; i++) console.log(`${i}`.padEnd(60))", resources={"timeout_s": 60}
    )
    with server.client() as slow, slow.stream("GET", f"/v1/workloads/{workload_id}/logs") as answer:
        assert answer.status_code == 200
        assert wait(http, workload_id)["status"] == "completed"
        data = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith('data: {"seq"')]
    assert [entry["seq"] for entry in data] == list(range(100_000))


def test_history_pages_and_plain_text_say_the_same(http: httpx2.Client) -> None:
    done = run(http, code=COUNT_TO.format(n=50, pause=""))
    page = http.get(f"/v1/workloads/{done['id']}/logs/history", params={"after": 9, "limit": 10}).json()
    assert [line["line"] for line in page["lines"]] == [str(i) for i in range(10, 20)]
    assert page["workload_id"] == done["id"]
    assert page["next_seq"] == 19
    text = http.get(f"/v1/workloads/{done['id']}/logs/history", headers={"Accept": "text/plain"})
    assert text.text.split() == [str(i) for i in range(50)]
