"""The guides to micro-VMs have an entry for every message with which one can fail to be there, to start, or to last."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "docs" / "guides"
SOURCE = ROOT / "src" / "caisson"
MICROVM = SOURCE / "backends" / "microvm"
FAILURES = frozenset({"Unavailable", "StartFailed", "SandboxCrashed"})


def reasons(path: Path, failures: frozenset[str] = FAILURES) -> Iterator[str]:
    """The longest fixed part of every message of such a failure in this file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in failures and node.args:
            yield fixed_part(node.args[0])


def fixed_part(message: ast.expr) -> str:
    parts = [part.value for part in ast.walk(message) if isinstance(part, ast.Constant)]
    return max((part for part in parts if isinstance(part, str)), key=len).strip(" :,(`")


def doctor_says(path: Path, function: str) -> Iterator[str]:
    """What one of the doctor's checks finds where all is not well."""
    (check,) = [node for node in ast.parse(path.read_text()).body if getattr(node, "name", "") == function]
    for node in ast.walk(check):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding" and len(node.args) == 4:
            yield fixed_part(node.args[2])


@pytest.mark.parametrize("path", sorted(MICROVM.glob("*.py")), ids=lambda path: path.name)
def test_every_reason_has_an_entry_in_the_guide(path: Path) -> None:
    guide = (GUIDES / "host-prerequisites.md").read_text()
    assert {reason for reason in reasons(path) if reason not in guide} == set()


def test_every_way_in_which_the_agent_lets_a_start_fail_has_an_entry_in_the_guide() -> None:
    said = set(reasons(SOURCE / "sandbox" / "agent.py", frozenset({"StartFailed"})))
    assert said
    guide = (GUIDES / "host-prerequisites.md").read_text()
    assert {reason for reason in said if reason not in guide} == set()


@pytest.mark.parametrize("path", sorted((MICROVM / "firecracker").glob("*.py")), ids=lambda path: path.name)
def test_every_reason_of_firecracker_has_an_entry_in_its_guide(path: Path) -> None:
    guide = (GUIDES / "firecracker.md").read_text()
    assert {reason for reason in reasons(path) if reason not in guide} == set()


def test_what_the_doctor_says_of_kvm_has_an_entry_in_the_guide() -> None:
    said = set(doctor_says(SOURCE / "host" / "doctor.py", "check_kvm"))
    assert said
    guide = (GUIDES / "host-prerequisites.md").read_text()
    assert {reason for reason in said if reason not in guide} == set()
