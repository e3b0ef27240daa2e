"""The commands that ask a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.helpers.command import Ended

Run = Callable[..., Ended]


def test_a_log_of_many_lines_is_shown_whole_and_in_order(run: Run, tmp_path: Path) -> None:
    (tmp_path / "many.js").write_text("for (let i = 0; i < 5000; i++) console.log(`line ${i}`);")
    workload_id = run("run", "many.js", "--detach").stdout.strip()
    expected = [f"line {number}" for number in range(5000)]
    assert run("logs", "--follow", workload_id).stdout.splitlines() == expected
    assert run("logs", workload_id).stdout.splitlines() == expected
    lines = [json.loads(line) for line in run("logs", "--json", workload_id).stdout.splitlines()]
    assert [line["seq"] for line in lines] == [*range(5000)]


def test_the_log_of_a_running_workload_can_be_read_without_waiting_for_its_end(run: Run, tmp_path: Path) -> None:
    (tmp_path / "long.js").write_text("await new Promise((go) => setTimeout(go, 60_000));")
    workload_id = run("run", "long.js", "--detach").stdout.strip()
    ended = run("logs", workload_id)
    assert (ended.code, ended.stdout) == (0, "")
    killed = run("kill", workload_id)
    assert (killed.code, killed.stdout) == (0, f"{workload_id} killed\n")


def test_a_workload_that_has_ended_cannot_be_killed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "short.js").write_text("1")
    workload_id = json.loads(run("run", "short.js", "--json").stdout)["id"]
    ended = run("kill", workload_id)
    assert (ended.code, ended.stdout) == (3, "")
    assert "completed" in ended.stderr


def test_a_workload_that_does_not_exist_is_refused_by_every_command_that_names_one(run: Run) -> None:
    for command in ("status", "logs", "kill"):
        ended = run(command, "01J00000000000000000000000")
        assert (ended.code, ended.stdout) == (3, "")
        assert "01J00000000000000000000000" in ended.stderr


def test_the_list_can_be_narrowed_and_paged(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ok.js").write_text("1")
    (tmp_path / "bad.js").write_text("Deno.exit(3)")
    ids = [run("run", name, "--detach", "--label", "batch=x").stdout.strip() for name in ("ok.js", "bad.js", "ok.js")]
    for workload_id in ids:
        run("logs", "--follow", workload_id)

    def listed(*options: str) -> dict[str, object]:
        page: dict[str, object] = json.loads(run("ls", "--json", "--label", "batch=x", *options).stdout)
        return page | {"ids": [workload["id"] for workload in page["workloads"]]}  # type: ignore[attr-defined]  # JSON

    assert listed()["ids"] == ids[::-1]
    assert listed("--status", "failed")["ids"] == [ids[1]]
    assert listed("--runtime", "wasm")["ids"] == []
    first = listed("-n", "2")
    assert (first["ids"], first["total"]) == (ids[:0:-1], 3)
    assert listed("-n", "2", "--cursor", str(first["next_cursor"]))["ids"] == [ids[0]]


def test_tables_name_what_there_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.js").write_text("throw new Error('boom')")
    workload_id = run("run", "bad.js", "--detach", "--label", "team=red").stdout.strip()
    run("logs", "--follow", workload_id)
    assert workload_id in run("ls").stdout
    shown = run("status", workload_id).stdout
    assert [word for word in ("failed", "exception", "boom", "team=red", "isolate") if word not in shown] == []
    assert "isolate" in run("backends").stdout
    [node] = json.loads(run("nodes", "--json").stdout)
    assert node["id"] in run("nodes").stdout
