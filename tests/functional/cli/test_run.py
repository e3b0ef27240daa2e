"""`caisson run` against a real server and real sandboxes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wasmtime import wat2wasm

from tests.helpers.command import CAISSON, Ended, environment
from tests.helpers.server import Server

Run = Callable[..., Ended]

HELLO_WAT = r"""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\0c\00\00\00hello wasm!\n")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 24)))))
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """`write(name, text)` puts a file into the test's folder."""

    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put


def test_a_function_gets_its_input_and_its_output_follows_the_log(run: Run, write: Callable[..., Path]) -> None:
    write("f.js", "export default (input) => { console.log('working'); return { sum: input.a + input.b }; };")
    ended = run("run", "f.js", "--input", '{"a": 1, "b": 2}')
    assert (ended.code, ended.stdout, ended.stderr) == (0, 'working\n{"sum":3}\n', "")


def test_typescript_runs_by_its_name(run: Run, write: Callable[..., Path]) -> None:
    write("t.ts", "const text: string = 'typed'; console.log(text);")
    assert run("run", "t.ts").stdout == "typed\n"


def test_stdout_and_stderr_stay_apart(run: Run, write: Callable[..., Path]) -> None:
    write("two.mjs", "console.log('to out'); console.error('to err');")
    ended = run("run", "two.mjs")
    assert (ended.code, ended.stdout, ended.stderr) == (0, "to out\n", "to err\n")


def test_a_folder_of_several_files_runs(run: Run, write: Callable[..., Path]) -> None:
    write("project/main.ts", "import { twice } from './lib/twice.ts'; export default (n: number) => twice(n);")
    write("project/lib/twice.ts", "export const twice = (n: number): number => 2 * n;")
    write("project/node_modules/left/out.js", "not sent")
    assert run("run", "project", "--input", "21").stdout == "42\n"


def test_standard_input_can_be_the_program(run: Run) -> None:
    assert run("run", "-", "--runtime", "node", stdin="console.log('from a pipe')").stdout == "from a pipe\n"


def test_standard_input_can_be_the_input(run: Run, write: Callable[..., Path]) -> None:
    write("f.js", "export default (input) => input.length;")
    assert run("run", "f.js", "--input", "-", stdin="[1, 2, 3]").stdout == "3\n"


def test_environment_and_arguments_reach_the_program(run: Run, write: Callable[..., Path]) -> None:
    write("a.js", "export default () => [Deno.env.get('K'), Deno.env.get('HERE'), ...Deno.args];")
    ended = run("run", "a.js", "--env", "K=v=w", "--env", "HERE", "--arg", "one", "--", "-two", HERE="mine")
    assert json.loads(ended.stdout) == ["v=w", "mine", "one", "-two"]


def test_a_module_runs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hello.wasm").write_bytes(wat2wasm(HELLO_WAT))
    ended = run("run", "hello.wasm")
    assert (ended.code, ended.stdout) == (0, "hello wasm!\n")


def test_the_exit_code_is_the_programs(run: Run, write: Callable[..., Path]) -> None:
    write("x.js", "console.log('bye'); Deno.exit(7);")
    ended = run("run", "x.js")
    assert (ended.code, ended.stdout) == (7, "bye\n")
    assert "exit_nonzero" in ended.stderr


def test_an_exception_is_told_with_its_place_in_the_users_file(run: Run, write: Callable[..., Path]) -> None:
    write("e.js", "\n\nthrow new Error('boom');")
    ended = run("run", "e.js")
    assert ended.code == 1
    assert "error: exception:" in ended.stderr
    assert "boom" in ended.stderr
    assert "e.js:3" in ended.stderr


def test_a_timeout_ends_with_124(run: Run, write: Callable[..., Path]) -> None:
    write("loop.js", "console.log('before'); for (;;);")
    ended = run("run", "loop.js", "--timeout", "1s")
    assert (ended.code, ended.stdout) == (124, "before\n")
    assert "error: timeout:" in ended.stderr


def test_running_out_of_memory_ends_with_137(run: Run, write: Callable[..., Path]) -> None:
    write("heap.js", "const all = []; for (;;) all.push(new Array(1e6).fill(Math.random()));")
    ended = run("run", "heap.js", "--mem", "64")
    assert ended.code == 137
    assert "error: out_of_memory:" in ended.stderr


def test_a_runtime_that_nothing_here_runs_is_refused_with_3(run: Run, write: Callable[..., Path]) -> None:
    write("main.py", "print(1)")
    ended = run("run", "main.py", "--isolation", "isolate")
    assert (ended.code, ended.stdout) == (3, "")
    assert "python" in ended.stderr


def test_detached_it_goes_on_alone_and_is_found_by_its_label(run: Run, write: Callable[..., Path]) -> None:
    write("later.js", "console.log('was here'); export default () => 'done';")
    ended = run("run", "later.js", "--detach", "--label", "test=detached")
    workload_id = ended.stdout.strip()
    assert run("logs", "-f", workload_id).stdout == "was here\n"
    found = json.loads(run("status", workload_id, "--json").stdout)
    assert (found["status"], found["output"]) == ("completed", "done")
    page = json.loads(run("ls", "--label", "test=detached", "--json").stdout)
    assert [workload["id"] for workload in page["workloads"]] == [workload_id]


def test_with_json_the_finished_workload_is_all_there_is_on_stdout(run: Run, write: Callable[..., Path]) -> None:
    write("f.js", "console.log('log'); export default () => ({ a: 1 });")
    ended = run("run", "f.js", "--json")
    assert json.loads(ended.stdout)["output"] == {"a": 1}
    assert ended.stderr == "log\n"


def test_lines_come_while_the_program_runs(server: Server, tmp_path: Path, write: Callable[..., Path]) -> None:
    write("slow.js", "console.log('first'); await new Promise((go) => setTimeout(go, 60_000));")
    with started(server, tmp_path, "slow.js") as command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"first\n"
        assert command.poll() is None
        command.send_signal(signal.SIGINT)
        command.wait(30)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=lambda value: str(value),
)
def test_stopping_the_command_kills_the_workload(
    server: Server, run: Run, tmp_path: Path, write: Callable[..., Path], number: signal.Signals, code: int
) -> None:
    write("slow.js", "console.log('running'); await new Promise((go) => setTimeout(go, 60_000));")
    label = f"test={number.name.lower()}"
    with started(server, tmp_path, "slow.js", "--label", label) as command:
        assert command.stdout is not None
        command.stdout.readline()
        command.send_signal(number)
        assert command.wait(30) == code
        assert command.stderr is not None
        assert b"killed" in command.stderr.read()
    assert [(found["status"], found["error"]["reason"]) for found in labelled(run, label)] == [
        ("killed", "killed_by_user")
    ]


def test_a_reader_that_hangs_up_kills_the_workload(
    server: Server, run: Run, tmp_path: Path, write: Callable[..., Path]
) -> None:
    write("chatty.js", "for (;;) { console.log('x'); await new Promise((go) => setTimeout(go, 10)); }")
    with started(server, tmp_path, "chatty.js", "--label", "test=pipe") as command:
        assert command.stdout is not None
        command.stdout.readline()
        command.stdout.close()
        assert command.wait(30) == 1
        assert command.stderr is not None
        assert b"Traceback" not in command.stderr.read()
    assert [found["status"] for found in labelled(run, "test=pipe")] == ["killed"]


def labelled(run: Run, label: str) -> list[dict[str, Any]]:
    """The workloads with this label, as the command lists them."""
    found: list[dict[str, Any]] = json.loads(run("ls", "--json", "--label", label).stdout)["workloads"]
    return found


def started(server: Server, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [CAISSON, "run", *arguments],
        cwd=folder,
        env=environment(folder, CAISSON_API=server.url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
