"""The pages hang together: every page can be found from the index, and no link leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def links(page: Path) -> set[Path]:
    targets = {target for target, _ in LINK.findall(page.read_text())}
    return {(page.parent / target).resolve() for target in targets if "://" not in target}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    assert {str(target) for target in links(page) if not target.exists()} == set()


def test_the_index_leads_to_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    reached, waiting = {index}, [index]
    while waiting:
        for target in links(waiting.pop()) - reached:
            reached.add(target)
            if target.suffix == ".md" and target.exists():
                waiting.append(target)
    missing = {str(page.relative_to(ROOT)) for page in PAGES if page.is_relative_to(ROOT / "docs")} - {
        str(page.relative_to(ROOT)) for page in reached if page.is_relative_to(ROOT)
    }
    assert missing == set()
