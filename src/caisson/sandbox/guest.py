"""What lies in `/caisson` of every sandbox with an agent: the agent itself and the language harnesses."""

from __future__ import annotations

from pathlib import Path

from caisson.errors import Unavailable

_FOLDER = Path(__file__).with_name("inside")
AGENT = "agent"
"""The agent's file name in that folder."""
MEND = "mend.so"
"""A library that programs load where an old gVisor runs them."""


def guest_folder() -> Path:
    """The folder on this host, for a backend to show to its sandboxes. Raises Unavailable if the agent is not built."""
    if not (_FOLDER / AGENT).is_file():
        raise Unavailable(
            "the guest agent is not built",
            fix="apt-get install musl-tools make, then: make setup",
            detail=f"there is no {_FOLDER / AGENT}",
        )
    return _FOLDER
