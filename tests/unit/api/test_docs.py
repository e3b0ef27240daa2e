"""The pages about errors and endpoints say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from caisson.api.problems import ERRORS_PAGE, TITLES
from caisson.errors import Refusal
from caisson.model import KILL_REASONS, Reason
from tests.unit.api.doubles import EngineDouble, client, make_app

DOCS = Path(__file__).resolve().parents[3] / "docs"
ERRORS = (DOCS / "reference/errors.md").read_text()
HTTP_API = (DOCS / "reference/http-api.md").read_text()


def test_every_refusal_has_a_title_and_an_entry_that_its_type_leads_to() -> None:
    assert set(TITLES) == set(Refusal)
    entries = re.findall(r'^\| <a id="(\w+)"></a>`(\w+)` \|', ERRORS, re.MULTILINE)
    assert sorted(entries) == sorted((reason, reason) for reason in Refusal)
    assert (DOCS.parent / f"{ERRORS_PAGE.removeprefix('/')}.md").exists()


def test_every_reason_of_a_workload_has_an_entry_with_its_state() -> None:
    entries = dict(re.findall(r"^\| `(\w+)` \| (failed|killed) \|", ERRORS, re.MULTILINE))
    assert entries == {reason: "killed" if reason in KILL_REASONS else "failed" for reason in Reason}


@pytest.mark.anyio
async def test_every_endpoint_has_a_line(tmp_path: Path) -> None:
    async with client(make_app(EngineDouble(), tmp_path)) as http:
        described = (await http.get("/openapi.json")).json()["paths"]
    endpoints = {f"{method.upper()} {path}" for path, item in described.items() for method in item}
    listed = set(re.findall(r"`([A-Z]+ /[^`?]*)`", HTTP_API.split("\n## ")[0]))
    assert listed == endpoints | {"GET /openapi.json"}
