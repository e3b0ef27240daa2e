"""What the README shows is what happens: its commands are typed, and must print what it says they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.server import Server

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Example:
    """A command and the lines shown below it, in which `…` stands for anything."""

    command: str
    shown: tuple[str, ...]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def examples() -> list[Example]:
    """Every command after a `$`, with its continuation lines after a `>`."""
    found: list[Example] = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, *rest = part.splitlines()
            continued = [line.removeprefix("> ") for line in rest if line.startswith("> ")]
            shown = tuple(line for line in rest if not line.startswith("> "))
            found.append(Example("\n".join([first, *continued]), shown))
    return found


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.command.splitlines()[0][:50])
def test_a_command_prints_what_the_readme_shows(example: Example, server: Server) -> None:
    done = subprocess.run(
        ["bash", "-c", example.command.replace(ADDRESS, server.url)],
        cwd=ROOT,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "CAISSON_API": server.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    shown = r".*\n".join(".*".join(re.escape(piece) for piece in line.split("…")) for line in example.shown)
    assert re.search(shown, done.stdout), done.stdout


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_example_runs(code: str, server: Server) -> None:
    environment = {"PATH": os.environ["PATH"], "CAISSON_API": server.url}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"completed 42 [\d.]+ ms\n0 stdout 0\n1 stdout 1\n2 stdout 2\n", done.stdout), done.stdout


def test_the_readme_names_only_make_targets_that_exist() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z]+)(?:$|`)", README, re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"up"} <= named <= targets
