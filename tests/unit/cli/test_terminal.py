"""What a sandbox writes cannot steer the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.cli.terminal import harmless

ESCAPES = st.lists(
    st.sampled_from(
        ["\x1b", "[", "]", "0;", "2J", "m", "31", "\x07", "\x1b\\", "\x9b", "P", "é", "\r", "\n", "\t", "a"]
    ),
    max_size=40,
).map("".join)


@given(ESCAPES | st.text())
def test_no_control_character_is_left_but_tab_and_line_end(text: str) -> None:
    assert all(character in "\t\n" or not is_control(character) for character in harmless(text))


@given(ESCAPES | st.text())
def test_with_colours_only_colours_are_left(text: str) -> None:
    import re

    rest = re.sub(r"\x1b\[[0-9;:]*m", "", harmless(text, colours=True))
    assert all(character in "\t\n" or not is_control(character) for character in rest)


def is_control(character: str) -> bool:
    return ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0


@pytest.mark.parametrize(
    "attack",
    [
        "\x1b[2J",
        "\x1b]0;title\x07",
        "\x1b]52;c;ZXZpbA==\x1b\\",
        "\x1b[6n",
        "\x1bc",
        "\x9b2J",
        "\x1bP+q\x1b\\",
        "\r",
        "\x08",
    ],
)
def test_known_attacks_are_gone_without_a_trace_that_steers(attack: str) -> None:
    assert "\x1b" not in harmless(f"before{attack}after", colours=True)
    assert harmless(f"before{attack}after").startswith("before")


def test_text_and_colours_stay() -> None:
    line = "\x1b[1;31mred\x1b[0m\tplain é 漢"
    assert harmless(line, colours=True) == line
    assert harmless(line) == "red\tplain é 漢"
