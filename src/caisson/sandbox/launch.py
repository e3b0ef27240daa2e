"""How a job begins inside a sandbox that has the agent: a program to execute, or work for the waiting harness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OUTPUT_PATH = ".caisson-output.json"
"""Where `$CAISSON_OUTPUT` points, below the work folder. Nothing is there until the program writes it."""
WORK = "/work"
"""The work folder, as sandboxes see it."""
INSIDE = "/caisson"
"""Where every sandbox with the agent has what `guest.guest_folder()` holds, and can only read it."""
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": WORK,
    "LANG": "C.UTF-8",
    "USER": "caisson",
    "TMPDIR": "/tmp",  # noqa: S108 - of this sandbox alone
}
"""What programs have in their environment besides the user's own variables. A backend starts the agent with it too,
since a harness has the environment of its agent."""


@dataclass(frozen=True, slots=True)
class Program:
    """A file that is delivered with the job's own, and may be executed."""

    path: str
    data: bytes
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Launch:
    """What START says: the waiting harness runs `entrypoint`, or the agent executes `argv`."""

    argv: tuple[str, ...] = ()
    entrypoint: str | None = None
    args: tuple[str, ...] = ()
    """The user's arguments, for the harness; `argv` contains them already."""
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    """Relative to the work folder, or absolute; None: the work folder."""
    output_path: str = OUTPUT_PATH
    """Where `$CAISSON_OUTPUT` points, below the work folder; what lies there at the end is the result."""
    programs: tuple[Program, ...] = ()
    users_choice: bool = False
    """The user named the program: if it cannot be executed, that is `invalid_code` and not a failed start."""
    limit_pids: int | None = None
    limit_nofile: int | None = None
    limit_fsize: int | None = None
    """Largest file, in bytes; writing more ends a program by SIGXFSZ."""
    limit_memory: int | None = None
    """In bytes; for a machine, which has no other limit of its own."""
    limit_disk: int | None = None
    """In bytes, of all that the writable layer holds; for a machine, too."""
