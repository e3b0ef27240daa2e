"""Imports point down the list of layers in `docs/architecture.md`, and there are no cycles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "caisson"

GROUND = {"model", "answers", "benchmark", "tenants", "destinations", "errors", "settings", "telemetry", "metrics"}
BESIDE = {"images", "store"}
MAY_IMPORT: dict[str, set[str]] = {
    **{name: GROUND for name in GROUND},
    "host": GROUND,
    "images": GROUND | {"host"},
    "store": GROUND,
    "sandbox": GROUND | {"host", "images"},
    "backends": GROUND | {"host", "images", "sandbox"},
    "engine": GROUND | BESIDE | {"sandbox", "host"},
    "compare": GROUND | BESIDE | {"host", "sandbox", "engine"},
    "api": GROUND | BESIDE | {"engine", "compare"},
    "app": GROUND | BESIDE | {"host", "sandbox", "backends", "engine", "compare", "api"},
    "client": {"model", "answers", "benchmark", "tenants"},
    # It boots the backend's own kernel without the backend, to have something to measure that by.
    "bench": {"model", "answers", "errors", "client", "host", "images", "settings", "sandbox", "backends"},
    "cli": GROUND | BESIDE | {"app", "bench", "client", "host", "sandbox", "backends"},
}
"""Parts of the package and what each may import besides itself."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imports_of(path: Path) -> set[str]:
    """Modules of this package that a file imports anywhere, at its top or in a function; without `caisson.`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides what it points to"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {name.removeprefix("caisson.") for name in found if name.startswith("caisson.")}
    # `from caisson.model import Status` names something in a module, not a module.
    return {name if name in MODULES else name.rpartition(".")[0] for name in inside} - {""}


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    part = module.partition(".")[0]
    assert part in MAY_IMPORT, f"{part} has no place in the list of layers yet"
    imported = {name.partition(".")[0] for name in imports_of(MODULES[module])} - {part}
    assert imported <= MAY_IMPORT[part], f"{module} imports {sorted(imported - MAY_IMPORT[part])}"


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: imports_of(path) - {name} for name, path in MODULES.items() if name}
    finished: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, "imports go in a circle: " + " → ".join((*trail, module))
        if module in finished:
            return
        for imported in sorted(graph.get(module, ())):
            visit(imported, (*trail, module))
        finished.add(module)

    for module in graph:
        visit(module, ())


def test_no_pipe_is_given_to_the_loop_which_would_close_it_twice() -> None:
    """See `host/pipes.py`: the second time it may be another's, opened under the same number."""
    users = [name for name, path in MODULES.items() if re.search(r"\.connect_(read|write)_pipe\(", path.read_text())]
    assert users == []


def test_nothing_is_raised_inside_except_star() -> None:
    """Python 3.11.2, which is Debian 12's, puts what is raised there into a group of its own; later ones do not."""
    raising = [
        f"{name}:{found.lineno}"
        for name, path in MODULES.items()
        for block in ast.walk(ast.parse(path.read_text()))
        if isinstance(block, ast.TryStar)
        for handler in block.handlers
        for found in ast.walk(handler)
        if isinstance(found, ast.Raise)
    ]
    assert raising == []
