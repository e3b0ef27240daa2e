"""Runs the installed `caisson` command as a user's shell would."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CAISSON = Path(sys.executable).with_name("caisson")
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    stdout: str
    stderr: str


def environment(home: Path, **variables: str) -> dict[str, str]:
    """What a command finds in its environment: no CAISSON_* but those given."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {"HOME": str(home), "COLUMNS": "100"} | variables


def caisson(*arguments: str | Path, cwd: Path, stdin: str | bytes = b"", **variables: str) -> Ended:
    """Run `caisson ARGUMENTS` in `cwd` to its end; `variables` are set in its environment."""
    done = subprocess.run(
        [CAISSON, *arguments],
        cwd=cwd,
        env=environment(cwd, **variables),
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())
