"""Every guarantee names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "guarantees.md"
GUARANTEES = re.findall(r"^- (.*?)(?=^- |^#|^$|\Z)", PAGE.read_text(), re.M | re.S)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("guarantee", GUARANTEES, ids=lambda text: re.sub(r"\W+", "-", text[:60]))
def test_a_guarantee_names_tests_that_exist(guarantee: str) -> None:
    named = TEST.findall(guarantee)
    assert named, "it names no test"
    for path, name in named:
        source = (ROOT / path).read_text() if (ROOT / path).is_file() else ""
        assert re.search(rf"^(async )?def {name}\(", source, re.M), f"there is no {path}::{name}"


def test_there_are_guarantees() -> None:
    assert len(GUARANTEES) > 20
