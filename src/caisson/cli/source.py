"""Finds out what a file, a folder or standard input holds: runtime, entrypoint, and the way to send it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from caisson.model import Runtime

RUNTIME_OF_SUFFIX = {
    ".js": Runtime.NODE,
    ".mjs": Runtime.NODE,
    ".cjs": Runtime.NODE,
    ".jsx": Runtime.NODE,
    ".ts": Runtime.NODE,
    ".mts": Runtime.NODE,
    ".cts": Runtime.NODE,
    ".tsx": Runtime.NODE,
    ".wasm": Runtime.WASM,
    ".py": Runtime.PYTHON,
    ".go": Runtime.GO,
    ".sh": Runtime.BASH,
}
_SHEBANG = re.compile(rb"#![^\n]*?\b(python|node|deno|bun|bash|sh)[\d.]*\b")
_RUNTIME_OF_INTERPRETER = {b"python": Runtime.PYTHON, b"bash": Runtime.BASH, b"sh": Runtime.BASH}
_WASM_MAGIC = b"\x00asm"
INLINE_BYTES = 1 << 20
"""Larger sources travel as an archive, which the server writes to disk instead of holding it."""


class Undecided(Exception):
    """What is there does not say how to run it; the message says what to add."""


@dataclass(frozen=True, slots=True)
class Source:
    """Code ready to be sent: exactly one of `code`, `files` and `archive` is given."""

    runtime: Runtime
    entrypoint: str | None = None
    code: str | bytes | None = None
    files: dict[str, str] | None = None
    archive: Path | None = None


def read_source(path: Path, runtime: Runtime | None, entrypoint: str | None) -> Source:
    """The source at `path`, a file or a folder. Raises Undecided, or OSError where it cannot be read."""
    if path.is_dir():
        runtime, entrypoint = inspect_folder(path, runtime, entrypoint)
        return Source(runtime, entrypoint, archive=path)
    if path.name.endswith((".tar.gz", ".tgz")):
        runtime = runtime or _runtime_of(entrypoint)
        if runtime is None:
            raise Undecided(f"{path.name} is an archive: name its language with --runtime")
        return Source(runtime, entrypoint, archive=path)
    content = path.read_bytes()
    runtime = runtime or RUNTIME_OF_SUFFIX.get(path.suffix) or detect(content)
    if runtime is None:
        raise Undecided(f"nothing in {path.name} says what language it is in: name it with --runtime")
    return _inline(runtime, entrypoint or path.name, content) or Source(runtime, path.name, archive=path)


def read_stdin(content: bytes, runtime: Runtime | None, entrypoint: str | None) -> Source:
    """The source that came through standard input."""
    runtime = runtime or _runtime_of(entrypoint) or detect(content)
    if runtime is None:
        raise Undecided("standard input does not say what language it is in: name it with --runtime")
    if entrypoint is not None and (source := _inline(runtime, entrypoint, content)):
        return source
    try:
        return Source(runtime, code=content if runtime is Runtime.WASM else content.decode())
    except UnicodeDecodeError as error:
        raise Undecided(f"standard input is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _inline(runtime: Runtime, name: str, content: bytes) -> Source | None:
    if len(content) > INLINE_BYTES:
        return None
    if runtime is Runtime.WASM:
        return Source(runtime, code=content)
    try:
        return Source(runtime, name, files={name: content.decode()})
    except UnicodeDecodeError:
        return None


def detect(content: bytes) -> Runtime | None:
    """The runtime that the first bytes of a program announce, if they do."""
    if content.startswith(_WASM_MAGIC):
        return Runtime.WASM
    found = _SHEBANG.match(content)
    return _RUNTIME_OF_INTERPRETER.get(found[1], Runtime.NODE) if found else None


def inspect_folder(folder: Path, runtime: Runtime | None, entrypoint: str | None) -> tuple[Runtime, str | None]:
    """Runtime and entrypoint of the project in `folder`; None is Go's package in the folder itself."""
    if entrypoint is not None:
        if not (folder / entrypoint).is_file():
            raise Undecided(f"{folder} has no file {entrypoint}")
        runtime = runtime or _runtime_of(entrypoint)
        if runtime is None:
            raise Undecided(f"the name {entrypoint} does not say what language it is in: name it with --runtime")
        return runtime, entrypoint
    if runtime in {None, Runtime.GO} and (folder / "go.mod").is_file():
        return Runtime.GO, "main.go" if (folder / "main.go").is_file() else None
    if runtime in {None, Runtime.NODE} and (main := _package_main(folder)):
        return Runtime.NODE, main
    return _entry_file(folder, runtime)


def _entry_file(folder: Path, runtime: Runtime | None) -> tuple[Runtime, str]:
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    fitting = [name for name in names if _runtime_of(name) and runtime in {None, _runtime_of(name)}]
    for candidates in (_with_stem(fitting, "main"), _with_stem(fitting, "index"), fitting):
        if len(candidates) == 1:
            return RUNTIME_OF_SUFFIX[Path(candidates[0]).suffix], candidates[0]
        if candidates:
            raise Undecided(f"{folder} could start with {_either(candidates)}: choose with --entrypoint")
    kind = f" for {runtime}" if runtime else ""
    raise Undecided(
        f"{folder} has no entrypoint{kind} (main.*, index.*, package.json, go.mod): name it with --entrypoint"
    )


def _with_stem(names: Iterable[str], stem: str) -> list[str]:
    return [name for name in names if Path(name).stem == stem]


def _either(names: list[str]) -> str:
    shown = names[:5] + (["…"] if len(names) > 5 else [])
    return ", ".join(shown[:-1]) + f" or {shown[-1]}"


def _runtime_of(name: str | None) -> Runtime | None:
    return RUNTIME_OF_SUFFIX.get(Path(name).suffix) if name else None


def _package_main(folder: Path) -> str | None:
    try:
        package = json.loads((folder / "package.json").read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Undecided(f"{folder / 'package.json'} is not JSON: {error}") from error
    main = package.get("main") if isinstance(package, dict) else None
    if not isinstance(main, str):
        return None
    name = main.removeprefix("./")
    if not (folder / name).is_file():
        raise Undecided(f"package.json names {main} as `main`, but there is no such file")
    return name
