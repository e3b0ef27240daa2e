"""Every command and option stands in `docs/reference/cli.md`, every method in `python-client.md`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from caisson import AsyncClient, Client
from caisson.cli.main import app
from caisson.client.spec import SpecOptions

DOCS = Path(__file__).resolve().parents[3] / "docs" / "reference"


def commands(command: object, path: str) -> Iterator[tuple[str, object]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{path} {name}")


COMMANDS = dict(commands(get_command(app), "caisson"))


def section(title: str) -> str:
    """The text under the heading of a command, up to the next heading of any level."""
    found = re.search(rf"^#+ `{re.escape(title)}[^`\n]*`\n(.*?)(?=^#|\Z)", (DOCS / "cli.md").read_text(), re.M | re.S)
    assert found, f"docs/reference/cli.md has no section for `{title}`"
    return found[1]


@pytest.mark.parametrize("path", [path for path in COMMANDS if path != "caisson"])
def test_a_command_is_documented_with_all_its_options(path: str) -> None:
    options = [name for parameter in COMMANDS[path].params for name in parameter.opts if name.startswith("-")]  # type: ignore[attr-defined]  # a typer command
    text = section(path)
    missing = [name for name in options if name not in {"--help", "-h"} and not re.search(rf"`{name}[` ]", text)]
    assert missing == []


def test_what_stands_before_a_command_is_documented() -> None:
    text = (DOCS / "cli.md").read_text().partition("## `caisson run")[0]
    names = [name for parameter in COMMANDS["caisson"].params for name in parameter.opts]  # type: ignore[attr-defined]  # a typer command
    assert [name for name in names if f"`{name}" not in text] == []


def test_no_command_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^#+ `(caisson [a-z]+(?: [a-z]+)?)", (DOCS / "cli.md").read_text(), re.M)
    assert {name for name in documented if name not in COMMANDS} == set()


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_every_method_of_the_clients_is_documented(client: type) -> None:
    text = (DOCS / "python-client.md").read_text()
    names = [name for name, _ in inspect.getmembers(client, callable) if not name.startswith("_")]
    assert [name for name in names if f"`{name}(" not in text] == []


def test_every_keyword_of_run_is_documented() -> None:
    text = (DOCS / "python-client.md").read_text()
    assert [name for name in SpecOptions.__annotations__ if f"`{name}`" not in text] == []


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    def shape(client: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(client, inspect.isfunction)
        return {name: [*inspect.signature(method).parameters] for name, method in methods if not name.startswith("__")}

    assert shape(Client) == shape(AsyncClient)
