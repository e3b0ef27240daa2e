"""The reference of the guest agent tells every option that the agent takes."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_option_of_the_agent_is_in_its_reference() -> None:
    options = re.findall(r'\{"([a-z-]+)", (?:required|no)_argument', (ROOT / "guest/src/options.c").read_text())
    assert {"nonce", "root", "disk", "memory"} <= set(options)
    page = (ROOT / "docs/reference/guest-agent.md").read_text()
    usage = page.partition("```\n")[2].partition("```")[0]
    table = page.partition("| Option | Means |")[2].partition("\n\n")[0]
    for name in options:
        assert f"--{name}" in usage, f"--{name} is not in the command line"
        assert f"`--{name}`" in table, f"`--{name}` has no line in the table"
