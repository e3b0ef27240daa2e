"""What a file, a folder or standard input is taken for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caisson.cli import source
from caisson.cli.source import Source, Undecided, inspect_folder, read_source, read_stdin
from caisson.model import Runtime

WASM = b"\0asm\1\0\0\0"


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        *((f"x{suffix}", Runtime.NODE) for suffix in (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".tsx", ".jsx")),
        ("x.py", Runtime.PYTHON),
        ("x.go", Runtime.GO),
        ("x.sh", Runtime.BASH),
    ],
)
def test_a_suffix_names_the_runtime_and_the_file_keeps_its_name(tmp_path: Path, name: str, runtime: Runtime) -> None:
    (tmp_path / name).write_text("text é")
    assert read_source(tmp_path / name, None, None) == Source(runtime, name, files={name: "text é"})


def test_a_module_travels_as_code(tmp_path: Path) -> None:
    (tmp_path / "a.wasm").write_bytes(WASM)
    assert read_source(tmp_path / "a.wasm", None, None) == Source(Runtime.WASM, code=WASM)


@pytest.mark.parametrize(
    ("content", "runtime"),
    [
        (b"#!/usr/bin/env python3\n", Runtime.PYTHON),
        (b"#!/usr/bin/python3.11 -u\n", Runtime.PYTHON),
        (b"#!/usr/bin/env node\n", Runtime.NODE),
        (b"#!/usr/bin/env -S deno run\n", Runtime.NODE),
        (b"#!/bin/sh\n", Runtime.BASH),
        (b"#!/bin/bash -e\n", Runtime.BASH),
        (WASM, Runtime.WASM),
    ],
)
def test_a_file_without_suffix_is_known_by_its_first_bytes(tmp_path: Path, content: bytes, runtime: Runtime) -> None:
    (tmp_path / "tool").write_bytes(content)
    assert read_source(tmp_path / "tool", None, None).runtime is runtime
    assert read_stdin(content, None, None).runtime is runtime


def test_what_says_nothing_needs_a_runtime(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("1")
    with pytest.raises(Undecided, match=r"tool.*--runtime"):
        read_source(tmp_path / "tool", None, None)
    with pytest.raises(Undecided, match=r"standard input.*--runtime"):
        read_stdin(b"1", None, None)
    assert read_source(tmp_path / "tool", Runtime.NODE, None).runtime is Runtime.NODE
    assert read_stdin(b"1", Runtime.NODE, None) == Source(Runtime.NODE, code="1")


def test_the_entrypoint_names_standard_input() -> None:
    assert read_stdin(b"1", None, "app.mjs") == Source(Runtime.NODE, "app.mjs", files={"app.mjs": "1"})


def test_a_large_file_travels_as_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "INLINE_BYTES", 10)
    (tmp_path / "big.js").write_text("x" * 11)
    assert read_source(tmp_path / "big.js", None, None) == Source(Runtime.NODE, "big.js", archive=tmp_path / "big.js")


def test_a_file_that_is_not_text_travels_as_an_archive(tmp_path: Path) -> None:
    (tmp_path / "odd.js").write_bytes(b"\xff")
    assert read_source(tmp_path / "odd.js", None, None).archive == tmp_path / "odd.js"


def test_an_archive_needs_a_runtime_or_an_entrypoint(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(Undecided, match="--runtime"):
        read_source(tmp_path / "a.tar.gz", None, None)
    archive = tmp_path / "a.tar.gz"
    assert read_source(archive, None, "src/main.py") == Source(Runtime.PYTHON, "src/main.py", archive=archive)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["main.ts", "index.ts", "util.ts"], (Runtime.NODE, "main.ts")),
        (["index.js", "util.js"], (Runtime.NODE, "index.js")),
        (["tool.py", "README.md"], (Runtime.PYTHON, "tool.py")),
        (["go.mod", "main.go"], (Runtime.GO, "main.go")),
        (["go.mod", "server.go", "util.go"], (Runtime.GO, None)),
        (["module.wasm", "data.json"], (Runtime.WASM, "module.wasm")),
        (["main.py", "lib/main.js"], (Runtime.PYTHON, "main.py")),
    ],
)
def test_a_folder_starts_with_the_file_its_names_suggest(
    tmp_path: Path, names: list[str], found: tuple[Runtime, str | None]
) -> None:
    assert inspect_folder(fill(tmp_path, *names), None, None) == found


def test_package_json_names_the_entrypoint(tmp_path: Path) -> None:
    fill(tmp_path, "src/app.js", "main.py")
    (tmp_path / "package.json").write_text(json.dumps({"main": "./src/app.js"}))
    assert inspect_folder(tmp_path, None, None) == (Runtime.NODE, "src/app.js")


def test_package_json_without_main_does_not_count(tmp_path: Path) -> None:
    fill(tmp_path, "index.mjs")
    (tmp_path / "package.json").write_text("{}")
    assert inspect_folder(tmp_path, None, None) == (Runtime.NODE, "index.mjs")


@pytest.mark.parametrize(("text", "says"), [('{"main": "gone.js"}', "gone.js"), ("{", "not JSON")])
def test_a_damaged_package_json_is_told(tmp_path: Path, text: str, says: str) -> None:
    fill(tmp_path, "index.js")
    (tmp_path / "package.json").write_text(text)
    with pytest.raises(Undecided, match=says):
        inspect_folder(tmp_path, None, None)


def test_a_folder_that_could_start_with_several_files_is_not_guessed_at(tmp_path: Path) -> None:
    fill(tmp_path, "main.py", "main.js")
    with pytest.raises(Undecided, match=r"main\.js or main\.py.*--entrypoint"):
        inspect_folder(tmp_path, None, None)
    assert inspect_folder(tmp_path, Runtime.PYTHON, None) == (Runtime.PYTHON, "main.py")
    assert inspect_folder(tmp_path, None, "main.js") == (Runtime.NODE, "main.js")


def test_a_folder_without_code_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(Undecided, match=r"main\.\*.*--entrypoint"):
        inspect_folder(fill(tmp_path, "README.md"), None, None)


def test_an_entrypoint_that_is_not_there_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(Undecided, match=r"no file nope\.py"):
        inspect_folder(fill(tmp_path, "main.py"), None, "nope.py")
