"""What a person sees: the command on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

from tests.helpers.command import CAISSON, environment
from tests.helpers.server import Server

ERASE_LINE = "\x1b[2K"


def on_terminal(server: Server, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run `caisson ARGUMENTS` with a terminal as all three of its streams; exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    variables = environment(folder, CAISSON_API=server.url, TERM="xterm-256color")
    with subprocess.Popen(
        [CAISSON, *arguments], cwd=folder, env=variables, stdin=theirs, stdout=theirs, stderr=theirs
    ) as command:
        os.close(theirs)
        seen = bytearray()
        try:
            while piece := os.read(ours, 65536):
                seen += piece
        except OSError:  # Linux says EIO where the other side of a terminal is closed
            pass
        finally:
            os.close(ours)
    return command.returncode, seen.decode()


def test_a_spinner_with_the_state_turns_in_quiet_moments_and_leaves_no_trace(server: Server, tmp_path: Path) -> None:
    (tmp_path / "quiet.js").write_text(
        "console.log('before'); await new Promise((go) => setTimeout(go, 4000)); console.log('after');"
    )
    code, seen = on_terminal(server, tmp_path, "run", "quiet.js")
    assert code == 0
    between = seen[seen.index("before") : seen.index("after")]
    assert "running" in between
    assert between.endswith(ERASE_LINE)
    assert "completed" in seen[seen.index("after") :]


def test_a_program_cannot_steer_the_terminal(server: Server, tmp_path: Path) -> None:
    (tmp_path / "evil.js").write_text(
        r"console.log('\x1b]0;owned\x07\x1b[2J\x1b[6n\x1b[31mred'); throw new Error('\x1b]0;owned\x07');"
    )
    code, seen = on_terminal(server, tmp_path, "run", "evil.js")
    assert code == 1
    assert "\x1b[31mred\x1b[0m" in seen
    assert not [attack for attack in ("\x1b]", "\x07", "\x1b[2J", "\x1b[6n") if attack in seen]


def test_output_is_indented_and_tables_are_coloured(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.js").write_text("export default () => ({ a: 1 });")
    _, seen = on_terminal(server, tmp_path, "run", "f.js")
    assert "{\r\n" in seen.replace("\x1b[0m", "").replace("\x1b[1m", "")
    code, table = on_terminal(server, tmp_path, "ls")
    assert code == 0
    assert "\x1b[32mcompleted" in table
