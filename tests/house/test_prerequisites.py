"""The guide to what micro-VMs need of a host has an entry for every reason the backend can give for not working."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guides" / "host-prerequisites.md"
BACKEND = ROOT / "src" / "caisson" / "backends" / "microvm"


def reasons() -> set[str]:
    """The longest fixed part of every message of an Unavailable in the backend, Firecracker's own guide apart."""
    found = set()
    for path in BACKEND.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Unavailable" and node.args:
                parts = [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
                found.add(max((part for part in parts if isinstance(part, str)), key=len).strip(" :,(`"))
    return found


def test_every_reason_has_an_entry_in_the_guide() -> None:
    guide = GUIDE.read_text()
    assert {reason for reason in reasons() if reason not in guide} == set()
