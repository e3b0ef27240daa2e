"""Builds what a wheel holds beside Python, unless it is there already: the dashboard's bundle and the guest agent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = "src/caisson/web/index.html"
AGENT = "src/caisson/sandbox/inside/agent"


class Built(BuildHookInterface[Any]):
    """Found by hatchling, as the only hook in this file."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """An editable package is a pointer to the work tree, where set-up and `make web` provide both."""
        if version == "editable":
            return
        root = Path(self.root)
        for built, command, instead in [
            (BUNDLE, [python_of(root), "scripts/web"], "make web"),
            (AGENT, ["make", "-s", "-C", "guest", "install"], "apt-get install musl-tools"),
        ]:
            if not (root / built).exists():
                subprocess.run(command, cwd=root, check=False)
            if not (root / built).exists():
                raise FileNotFoundError(f"{built} is not there and could not be built; first: {instead}")


def python_of(root: Path) -> str:
    """The interpreter that has this project's dependencies: a build may run in an environment that has none."""
    own = root / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable
