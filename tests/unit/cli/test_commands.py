"""The installed command against a server whose answers the test writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.helpers.command import caisson
from tests.helpers.double import Reply, Request, answering, json_reply

ID = "01J00000000000000000000000"
WORKLOAD = {
    "id": ID,
    "status": "completed",
    "runtime": "node",
    "isolation": "auto",
    "output": {"a": 1},
    "created_at": "2026-01-02T03:04:05Z",
}
PAGE = {"workloads": [WORKLOAD], "total": 1, "next_cursor": None, "limit": 20, "offset": 0}


def answer(request: Request) -> Reply:
    """A server on which everything has gone well."""
    path = request.path.partition("?")[0]
    if request.method == "POST":
        return json_reply(WORKLOAD | {"status": "pending", "output": None}, 202)
    if path.endswith("/logs"):
        line = {"seq": 0, "stream": "stdout", "line": "said", "ts": "2026-01-02T03:04:05Z"}
        text = f"id: 0\ndata: {json.dumps(line)}\n\nevent: done\ndata: {{}}\n\n"
        return Reply(200, [text.encode()], {"Content-Type": "text/event-stream"})
    return json_reply({"/v1/workloads": PAGE, "/v1/nodes": [], "/v1/backends": []}.get(path, WORKLOAD))


@pytest.mark.parametrize("place", ["before the command", "behind the command", "environment", ".env"])
def test_server_and_key_are_taken_from_wherever_they_are_given(tmp_path: Path, place: str) -> None:
    with answering(answer) as double:
        options = ["--api", double.url, "--api-key", "csn_k"]
        match place:
            case "before the command":
                ended = caisson(*options, "ls", cwd=tmp_path)
            case "behind the command":
                ended = caisson("ls", *options, cwd=tmp_path)
            case "environment":
                ended = caisson("ls", cwd=tmp_path, CAISSON_API=double.url, CAISSON_API_KEY="csn_k")
            case _:
                (tmp_path / ".env").write_text(f"CAISSON_API={double.url}\nCAISSON_API_KEY=csn_k\n")
                ended = caisson("ls", cwd=tmp_path)
    assert (ended.code, ended.stderr) == (0, "")
    assert double.requests[0].headers["authorization"] == "Bearer csn_k"


def test_what_stands_nearer_wins(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:1"
    (tmp_path / ".env").write_text(f"CAISSON_API={nowhere}\n")
    with answering(answer) as double:
        assert caisson("--api", nowhere, "ls", "--api", double.url, cwd=tmp_path, CAISSON_API=nowhere).code == 0
        assert caisson("--api", double.url, "ls", cwd=tmp_path, CAISSON_API=nowhere).code == 0
        assert caisson("ls", cwd=tmp_path, CAISSON_API=double.url).code == 0


def test_what_is_empty_in_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    with answering(answer) as double:
        (tmp_path / ".env").write_text(f"CAISSON_API={double.url}\nCAISSON_API_KEY=csn_k\n")
        assert caisson("ls", cwd=tmp_path, CAISSON_API_KEY="").code == 0
        # Without any address it is the usual one, where something else may answer.
        caisson("ls", cwd=tmp_path, CAISSON_API="")
    assert ["authorization" in request.headers for request in double.requests] == [False]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["ls"], {"total": 1, "next_cursor": None}),
        (["status", ID], WORKLOAD),
        (["kill", ID], WORKLOAD),
        (["nodes"], []),
        (["backends"], []),
        (["logs", "-f", ID], {"seq": 0, "stream": "stdout", "line": "said", "ts": "2026-01-02T03:04:05Z"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and value else "",
)
def test_json_is_what_the_server_answered(tmp_path: Path, arguments: list[str], value: object) -> None:
    with answering(answer) as double:
        ended = caisson(*arguments, "--json", cwd=tmp_path, CAISSON_API=double.url)
    assert ended.code == 0
    told = json.loads(ended.stdout)
    if isinstance(value, dict):
        assert told == told | value
    else:
        assert told == value


def test_tables_for_pipes_are_neither_cut_nor_folded(tmp_path: Path) -> None:
    with answering(answer) as double:
        ended = caisson("ls", cwd=tmp_path, CAISSON_API=double.url, COLUMNS="20")
    lines = ended.stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:3] == [ID, "completed", "node"]


def test_a_refusal_is_told_in_one_line_and_has_its_own_exit_code(tmp_path: Path) -> None:
    problem = {"type": "t", "title": "t", "status": 404, "detail": "there is none", "reason": "not_found"}
    with answering(lambda _: json_reply(problem, 404)) as double:
        ended = caisson("status", ID, cwd=tmp_path, CAISSON_API=double.url)
    assert (ended.code, ended.stdout) == (3, "")
    assert ended.stderr == "error: there is none [404 not_found]\n"


def test_a_missing_key_comes_with_what_to_do(tmp_path: Path) -> None:
    problem = {"type": "t", "title": "t", "status": 401, "detail": "a key is needed", "reason": "unauthenticated"}
    with answering(lambda _: json_reply(problem, 401)) as double:
        ended = caisson("ls", cwd=tmp_path, CAISSON_API=double.url)
    assert ended.code == 3
    assert "CAISSON_API_KEY" in ended.stderr


def test_no_server_has_its_own_exit_code_and_says_how_to_start_one(tmp_path: Path) -> None:
    ended = caisson("ls", cwd=tmp_path, CAISSON_API="http://127.0.0.1:1")
    assert (ended.code, ended.stdout) == (4, "")
    assert "http://127.0.0.1:1" in ended.stderr
    assert "caisson serve" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_address_that_is_none_is_told_without_a_traceback(tmp_path: Path) -> None:
    ended = caisson("ls", "--api", "ftp://x", cwd=tmp_path)
    assert ended.code == 2
    assert "ftp://x" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_run_sends_everything_it_was_told(tmp_path: Path) -> None:
    (tmp_path / "a.mjs").write_text("code")
    options = ["--isolation", "gvisor", "--timeout", "1m", "--mem", "1g", "--cpus", "2", "--disk", "64m"]
    options += ["--network", "egress", "--label", "team=a", "--env", "K=v", "-e", "HERE"]
    options += ["--input", '{"n": 1}', "--arg", "x", "--stdin"]
    with answering(answer) as double:
        ended = caisson(
            *("run", "a.mjs", *options, "--", "-y"), cwd=tmp_path, stdin="typed", CAISSON_API=double.url, HERE="h"
        )
    assert ended.code == 0
    post = double.requests[0]
    assert len(post.headers["idempotency-key"]) == 36
    assert msgspec.json.decode(post.body) == {
        "runtime": "node",
        "isolation": "gvisor",
        "files": {"a.mjs": "code"},
        "entrypoint": "a.mjs",
        "input": {"n": 1},
        "env": {"K": "v", "HERE": "h"},
        "args": ["x", "-y"],
        "stdin": "typed",
        "resources": {"cpus": 2.0, "mem_mb": 1024, "disk_mb": 64, "timeout_s": 60.0, "max_output_bytes": 10485760},
        "network": "egress",
        "labels": {"team": "a"},
    }


def test_run_prints_log_and_output_on_stdout(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("code")
    with answering(answer) as double:
        ended = caisson("run", "a.js", cwd=tmp_path, CAISSON_API=double.url)
    assert (ended.stdout, ended.stderr) == ('said\n{"a":1}\n', "")


def test_run_with_json_prints_nothing_else_on_stdout(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("code")
    with answering(answer) as double:
        ended = caisson("run", "a.js", "--json", cwd=tmp_path, CAISSON_API=double.url)
    assert json.loads(ended.stdout)["output"] == {"a": 1}
    assert ended.stderr == "said\n"


def test_run_detached_prints_the_id_alone(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("code")
    with answering(answer) as double:
        ended = caisson("run", "--detach", "a.js", cwd=tmp_path, CAISSON_API=double.url)
    assert ended.stdout == f"{ID}\n"
    assert len(double.requests) == 1


def test_an_image_runs_with_its_command(tmp_path: Path) -> None:
    with answering(answer) as double:
        caisson("run", "--image", "alpine", "--", "sh", "-c", "echo hi", cwd=tmp_path, CAISSON_API=double.url)
    sent = msgspec.json.decode(double.requests[0].body)
    assert (sent["runtime"], sent["image"], sent["command"]) == ("oci", "alpine", ["sh", "-c", "echo hi"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "name a file"),
        (["run", "gone.js"], "gone.js"),
        (["run", "-"], "--runtime"),
        (["run", "a.js", "--mem", "lots"], "--mem"),
        (["run", "a.js", "--input", "{"], "not JSON"),
        (["run", "a.js", "--isolation", "none"], "isolate"),
        (["run", "-", "--stdin", "--runtime", "node"], "standard input"),
        (["ls", "--limit", "0"], "--limit"),
        (["nonsense"], "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_that_makes_no_sense_exits_with_2_before_anything_is_sent(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "a.js").write_text("")
    with answering(answer) as double:
        ended = caisson(*arguments, cwd=tmp_path, CAISSON_API=double.url, COLUMNS="200")
    assert (ended.code, ended.stdout, double.requests) == (2, "", [])
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_arguments_that_are_no_text_are_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("")
    with answering(answer) as double:
        ended = caisson("run", "a.js", "--env", "K=\udcff", cwd=tmp_path, CAISSON_API=double.url)
    assert (ended.code, double.requests) == (2, [])
    assert "not UTF-8" in ended.stderr


def test_help_does_not_load_the_server_or_the_client(tmp_path: Path) -> None:
    program = "import sys; from caisson.cli.main import app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"httpx2", "fastapi", "pydantic", "sqlalchemy", "uvicorn", "rich.table"} & set(loaded)
