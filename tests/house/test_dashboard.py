"""What the dashboard promises of itself: the ids that scripts may rely on, and that outputs never become markup."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "web/src").rglob("*.ts*"))
PAGE = ROOT / "docs/reference/testids.md"
GIVEN = re.compile(r'\b(?:testId|data-testid)=(?:"([\w-]+)"|\{`([^`]+)`\})')
TABS = re.compile(r"<Tabs\b.*?/>", re.DOTALL)


def ids_in_the_code() -> set[str]:
    found = set()
    for path in SOURCES:
        text = path.read_text()
        of_tabs = {name for tabs in TABS.findall(text) for name in re.findall(r'testId="([\w-]+)"', tabs)}
        names = {plain or re.sub(r"\$\{[^}]*\}", "*", made) for plain, made in GIVEN.findall(text)}
        # What a row of tabs is given is the beginning of its tabs' ids.
        shared = {name for name in of_tabs if f'data-testid="{name}"' not in text}
        found |= (names - shared) | {f"{name}-*" for name in of_tabs}
    return found - {"*-*"}


def test_every_id_is_listed_and_every_listed_id_is_there() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][2:]
    # In brackets stand the names that a star can be.
    listed = {name for row in rows for name in re.findall(r"`([\w*-]+)`", re.sub(r"\([^)]*\)", "", row))}
    assert listed == ids_in_the_code()


def test_nothing_becomes_markup() -> None:
    assert [
        path.name for path in SOURCES if re.search(r"dangerouslySetInnerHTML|\.(inner|outer)HTML\b", path.read_text())
    ] == []


def test_the_server_is_named_in_one_place() -> None:
    naming = [
        path.name for path in [*SOURCES, *(ROOT / "web").glob("*.ts")] if re.search(r"CAISSON_API\b", path.read_text())
    ]
    assert naming == ["vite.config.ts"]
