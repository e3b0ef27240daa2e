"""What Caisson must know of a language before a sandbox runs it."""

from __future__ import annotations

from dataclasses import dataclass

from caisson.model import Runtime


@dataclass(frozen=True, slots=True)
class Language:
    """One runtime. The entrypoint of several files is the first of `entry_names` there, else the only fitting file."""

    runtime: Runtime
    code_file: str
    """Where the text given as `code` goes."""
    entry_names: tuple[str, ...]
    suffixes: tuple[str, ...]
    interpreter: tuple[str, ...] = ()
    """In sandboxes with an agent: the command that runs `harness`."""
    harness: str = ""
    """File of the harness that waits there for work, in the guest's folder; empty if there is none."""
    binary: bool = False
    """True if the entry file is no text: `code` is base64, and `files` cannot hold it."""
