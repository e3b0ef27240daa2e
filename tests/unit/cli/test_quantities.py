"""Amounts as people type them."""

from __future__ import annotations

import pytest
import typer

from caisson.cli.quantities import mebibytes, seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [("30", 30), ("0.5", 0.5), ("90s", 90), ("250ms", 0.25), ("1.5m", 90), ("2h", 7200), ("1d", 86_400)],
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("256", 256), ("512m", 512), ("2g", 2048), ("1.5GiB", 1536), ("64 MB", 64)]
)
def test_sizes(text: str, value: int) -> None:
    assert mebibytes(text) == value


@pytest.mark.parametrize("text", ["", "x", "-1", "1x", "1 2", "nan", "inf", "1e3", "٣"])
def test_what_is_no_amount_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="such as 30"):
        seconds(text)
    with pytest.raises(typer.BadParameter, match="such as 256"):
        mebibytes(text)
