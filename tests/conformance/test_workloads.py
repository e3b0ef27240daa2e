"""What every isolation promises of every language."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.conformance.conftest import Speaker
from tests.conformance.dialects import Dialect
from tests.helpers.processes import TICK_MS, cpu_ms, cpu_ms_below, cpu_ms_of_all, descendants
from tests.helpers.runs import events, logs, outcome, submit, text_of
from tests.helpers.server import Server, pools_are_full, wait_until

BURNT_MS = 150


def test_a_program_completes_and_its_output_is_in_the_log(
    http: httpx2.Client, dialect: Dialect, speak: Speaker
) -> None:
    done = speak.run(dialect.hello)
    assert outcome(done) == ("completed", None)
    assert (done["exit_code"], done["output"], done["isolation_used"]) == (0, None, dialect.isolation)
    assert text_of(logs(http, done["id"])) == ["out"]


def test_the_order_of_both_streams_is_kept(http: httpx2.Client, dialect: Dialect, speak: Speaker) -> None:
    lines = logs(http, speak.run(dialect.both_streams)["id"])
    assert [(line["seq"], line["stream"], line["line"]) for line in lines] == [
        (0, "stdout", "1"),
        (1, "stderr", "2"),
        (2, "stdout", "3"),
    ]


def test_a_programs_exit_code_is_its_own(dialect: Dialect, speak: Speaker) -> None:
    done = speak.run(dialect.exit_3)
    assert (*outcome(done), done["exit_code"]) == ("failed", "exit_nonzero", 3)


def test_stdin_reaches_the_program(http: httpx2.Client, dialect: Dialect, speak: Speaker) -> None:
    done = speak.run(dialect.echo_stdin, stdin="one\ntwo")
    assert text_of(logs(http, done["id"])) == ["one", "two"]


def test_a_program_reads_its_input_as_json_on_stdin(http: httpx2.Client, dialect: Dialect, speak: Speaker) -> None:
    done = speak.run(dialect.echo_stdin, input={"a": [1, "ü"]})
    assert text_of(logs(http, done["id"])) == ['{"a":[1,"ü"]}']


def test_a_large_stdin_arrives_whole(http: httpx2.Client, dialect: Dialect, speak: Speaker) -> None:
    done = speak.run(dialect.echo_stdin, stdin="x" * 1_000_000)
    assert text_of(logs(http, done["id"])) == ["x" * 1_000_000]


@pytest.mark.parametrize("value", [None, 0, "text", [1, [2]], {"a": {"b": 1.5}}, "ü\u0000\n", 2**53])
def test_a_function_returns_its_input(value: Any, dialect: Dialect, speak: Speaker) -> None:
    done = speak.run(dialect.identity, input=value)
    assert (done["status"], done["output"]) == ("completed", value)


def test_arguments_and_environment_reach_the_program_and_its_output_file_is_read(
    dialect: Dialect, speak: Speaker
) -> None:
    done = speak.run(dialect.args_and_env, args=["a b", ""], env={"K": "v"})
    assert done["output"] == {"args": ["a b", ""], "env": "v"}


def test_code_that_cannot_be_loaded_is_invalid(dialect: Dialect, speak: Speaker) -> None:
    assert outcome(speak.run(dialect.broken)) == ("failed", "invalid_code")


def test_an_uncaught_exception_is_the_programs_with_exit_code_1(dialect: Dialect, speak: Speaker) -> None:
    done = speak.run(dialect.raises)
    assert outcome(done) == ("failed", "exception")
    assert done["error"]["message"]


def test_a_loop_ends_at_its_deadline(dialect: Dialect, speak: Speaker) -> None:
    done = speak.run(dialect.loop, resources={"timeout_s": 0.5})
    assert (*outcome(done), done["exit_code"]) == ("failed", "timeout", None)


def test_too_much_memory_ends_the_program_and_nothing_else(dialect: Dialect, speak: Speaker) -> None:
    assert outcome(speak.run(dialect.memory_hog, resources={"mem_mb": 64})) == ("failed", "out_of_memory")
    assert outcome(speak.run(dialect.hello)) == ("completed", None)


def test_too_much_output_ends_the_program_and_what_came_before_is_kept(
    http: httpx2.Client, dialect: Dialect, speak: Speaker
) -> None:
    done = speak.run(dialect.flood, resources={"max_output_bytes": 100_000})
    assert outcome(done) == ("failed", "output_limit")
    kept = sum(len(line["line"]) + 1 for line in logs(http, done["id"]))
    assert 99_000 <= kept <= 100_001


def test_a_running_program_can_be_killed(http: httpx2.Client, dialect: Dialect, speak: Speaker) -> None:
    workload_id = submit(http, **speak.spec(dialect.loop))
    while http.get(f"/v1/workloads/{workload_id}").json()["status"] == "pending":
        pass
    killed = http.delete(f"/v1/workloads/{workload_id}")
    assert killed.status_code == 200
    assert outcome(killed.json()) == ("killed", "killed_by_user")
    assert http.delete(f"/v1/workloads/{workload_id}").status_code == 409


def test_a_log_can_be_followed_to_its_end(http: httpx2.Client, dialect: Dialect, speak: Speaker) -> None:
    seen = list(events(http, submit(http, **speak.spec(dialect.both_streams))))
    assert [data["line"] for kind, data in seen if kind == "line"] == ["1", "2", "3"]
    assert (seen[-1][0], seen[-1][1]["status"]) == ("done", "completed")


def test_usage_is_measured(http: httpx2.Client, dialect: Dialect, speak: Speaker, speaking: Server) -> None:
    """Between what a process of it certainly had, and what all that ran meanwhile had, by the kernel's own count."""
    before = cpu_ms_of_all()
    workload_id = submit(http, **speak.spec(dialect.loop), resources={"timeout_s": 120})
    wait_until(lambda: http.get(f"/v1/workloads/{workload_id}").json()["status"] == "running", "it to begin", 60)
    wait_until(lambda: pools_are_full(http), "its successor to wait", 60)
    # Now nothing of the server's computes but the loop.
    begun = cpu_ms_below(speaking.process.pid)
    wait_until(lambda: most_grown(begun, speaking.process.pid) > BURNT_MS, "it to use CPU time", 60)
    certain = most_grown(begun, speaking.process.pid)
    # Nobody is told the times of what dies with its pid namespace, so they are read while it lives.
    possible, told_at = cpu_ms_of_all() - before, time.monotonic()
    usage = http.delete(f"/v1/workloads/{workload_id}").json()["usage"]
    possible += (time.monotonic() - told_at) * 1_000 * (os.cpu_count() or 1)
    if usage["cpu_ms"] is not None:
        assert 100 < certain - TICK_MS <= usage["cpu_ms"] <= possible + TICK_MS
    assert usage["peak_mem_mb"] is None or usage["peak_mem_mb"] > 0


def most_grown(before: dict[int, float], server: int) -> float:
    """CPU time that the busiest process of the sandboxes that were there before has used since.

    The program's own may have come after `before`, and has used all of its time since. A sandbox that came after, such
    as one that is booted to see what works, is none of the workload's.
    """
    later = {each.pid for each in descendants(server) if each.parent == server and each.pid not in before}
    since = (cpu_ms(each.pid) - before.get(each.pid, 0.0) for each in descendants(server, later))
    return max(since, default=0.0)


def test_a_program_sees_its_own_files_only(dialect: Dialect, speak: Speaker) -> None:
    done = speak.run(dialect.sees_other_files)
    assert len(done["output"]) == 1


def test_a_program_reads_no_file_of_the_host(dialect: Dialect, speak: Speaker) -> None:
    assert speak.run(dialect.host_secrets)["output"] == []


def test_many_at_once_each_get_their_own_answer(dialect: Dialect, speak: Speaker) -> None:
    speak.spec(dialect.identity)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: speak.run(dialect.identity, input=number), range(24)))
    assert [answer["output"] for answer in answers] == list(range(24))
