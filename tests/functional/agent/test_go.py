"""Go workloads, compiled on an agent by whatever Go this machine has, and run there."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from caisson.errors import SandboxError
from caisson.model import Runtime
from caisson.sandbox import compiled
from caisson.sandbox.contract import Exited, Job
from caisson.sandbox.launch import ENVIRONMENT
from caisson.sandbox.runtimes.launching import launch_build
from tests.functional.agent.conftest import USER
from tests.helpers.driving import Drove, agent_channel, job
from tests.helpers.guest import is_root

Go = Callable[..., tuple[Drove, bytes | None]]
GO = shutil.which("go", path=os.environ["PATH"] + ":/usr/local/go/bin:/usr/lib/go/bin")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a Go image has in its environment; the cache is one for all tests here."""
    if GO is None:
        pytest.skip("go is not installed; the conformance suite runs Go in its image")
    folder = Path("/tmp") / f"caisson-go-{os.getpid()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    path = f"{ENVIRONMENT['PATH']}:{Path(GO).resolve().parent}"
    settings = {"GOFLAGS": "-mod=mod -trimpath", "GOPROXY": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    yield {**ENVIRONMENT, **settings, "PATH": path, "GOCACHE": str(folder / "cache"), "GOPATH": str(folder / "path")}
    shutil.rmtree(folder)


@pytest.fixture
def go(agent: Path, work: Path, inside: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Go:
    """Compiles and runs code, or several files; with what was compiled."""
    monkeypatch.setattr(compiled, "launch_build", lambda job, env: launch_build(job, env, str(inside)))
    user = ("--user", f"{USER}:{USER}") if is_root() else ()

    def execute(code: str | Mapping[str, str], binary: bytes | None = None, **rest: Any) -> tuple[Drove, bytes | None]:
        files = {"main.go": code} if isinstance(code, str) else code
        work_job = job(files, runtime=Runtime.GO, **rest)
        made: list[bytes] = []

        async def main() -> Drove:
            drove = Drove()
            async with agent_channel(agent, "--work", work, *user) as channel:
                events = compiled.run_compiled(channel, work_job, environment, binary=binary, on_binary=made.append)
                try:
                    async with aclosing(events):
                        async for event in events:
                            drove.events.append(event)
                except SandboxError as error:
                    drove.failure = error
            return drove

        return asyncio.run(main()), made[0] if made else None

    return execute


FUNCTION = """package main

import (
	"encoding/json"
	"fmt"
)

type request struct{ A int }

func Handler(input json.RawMessage) (any, error) {
	var r request
	if err := json.Unmarshal(input, &r); err != nil {
		return nil, err
	}
	fmt.Println("in", r.A)
	if r.A == 13 {
		return nil, fmt.Errorf("unlucky <%d>", r.A)
	}
	return map[string]any{"b": 100 / r.A, "html": "<&>"}, nil
}
"""


def test_a_function_is_compiled_once_and_its_program_serves_again(go: Go) -> None:
    done, binary = go(FUNCTION, input={"A": 50})
    assert (done.stdout, done.result, done.exited) == ("in 50\n", {"b": 2, "html": "<&>"}, Exited(code=0))
    assert binary is not None
    again, made = go(FUNCTION, binary, input={"A": 25}, stdin=b"something else")
    assert (again.result, made) == ({"b": 4, "html": "<&>"}, None)


def test_errors_and_panics_of_a_function_are_exceptions(go: Go) -> None:
    done, binary = go(FUNCTION, input={"A": 13})
    assert (done.raised.message, done.exited) == ("unlucky <13>", Exited(code=1))
    panicked, _ = go(FUNCTION, binary, input={"A": 0})
    assert panicked.raised.kind == "runtime.Error"
    assert "integer divide by zero" in panicked.raised.trace
    assert "main.go:19" in panicked.raised.trace
    assert "caisson" not in panicked.raised.trace
    assert "runtime/" not in panicked.raised.trace
    assert panicked.raised.trace in panicked.stderr


def test_a_program_has_arguments_input_and_output(go: Go) -> None:
    code = """package main

import (
	"io"
	"os"
)

func main() {
	input, _ := io.ReadAll(os.Stdin)
	os.WriteFile(os.Getenv("CAISSON_OUTPUT"), []byte("["+string(input)+`,"`+os.Args[1]+os.Getenv("K")+`"]`), 0o600)
	os.Exit(3)
}
"""
    done, _ = go(code, input={"a": 1}, args=("x y",), env={"K": "v"})
    assert (done.result, done.exited) == ([{"a": 1}, "x yv"], Exited(code=3))


def test_a_module_of_several_packages_is_compiled(go: Go) -> None:
    files = {
        "go.mod": "module example\n\ngo 1.19\n",
        "cmd/main.go": 'package main\n\nimport "example/lib"\n\nfunc main() { println(lib.Name) }\n',
        "lib/lib.go": 'package lib\n\nconst Name = "lib"\n',
    }
    assert go(files, entrypoint="cmd/main.go")[0].stderr == "lib\n"


def test_code_that_does_not_compile_is_invalid_with_the_compilers_text(go: Go) -> None:
    done, binary = go("package main\n\nfunc main() {\n\tx := 1\n}\n")
    assert binary is None
    assert (done.raised.kind, done.exited) == ("invalid_code", Exited(code=1))
    assert "./main.go:4:2: declared and not used: x" in done.raised.message
    assert done.stderr.strip() == done.raised.message


def test_sources_are_known_by_content_entry_and_toolchain(tmp_path: Path) -> None:
    def digest(files: Mapping[str, str], toolchain: str = "1", **rest: Any) -> str:
        made: Job = job(files, runtime=Runtime.GO, **rest)
        return compiled.source_digest(made, toolchain)

    archive = tmp_path / "a"
    archive.write_bytes(b"1")
    one = digest({"main.go": "a"})
    others = {
        digest({"main.go": "b"}),
        digest({"main.go": "a", "b.go": ""}),
        digest({"main.go": "a"}, "2"),
        digest({"main.go": "a"}, entrypoint="b.go"),
        digest({"main.go": "a"}, archive=archive),
    }
    assert one == digest({"main.go": "a"}, input=5, args=("x",))
    assert len(others - {one}) == 5
