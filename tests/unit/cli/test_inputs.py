"""Environment, labels, network and JSON input as they are given to `caisson run`."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from caisson.cli import inputs


def test_a_name_alone_has_the_value_it_has_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "a=b")
    assert inputs.environment(["HERE", "K=v=w", "EMPTY="]) == {"HERE": "a=b", "K": "v=w", "EMPTY": ""}


def test_a_name_that_is_not_set_here_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_HERE", raising=False)
    with pytest.raises(typer.BadParameter, match="NOT_HERE is not set"):
        inputs.environment(["NOT_HERE"])


def test_labels_need_a_value() -> None:
    assert inputs.labels(["team=a", "x="]) == {"team": "a", "x": ""}
    with pytest.raises(typer.BadParameter, match="NAME=VALUE"):
        inputs.labels(["team"])


def test_input_is_sent_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"n": 1.10, "big": 12345678901234567890123}\n')
    assert bytes(inputs.json_input('{"a": 1.0}')) == b'{"a": 1.0}'
    assert bytes(inputs.json_input(f"@{tmp_path / 'in.json'}")) == (tmp_path / "in.json").read_bytes()


@pytest.mark.parametrize("text", ["", "{", "NaN", "hello", "1 2", '"\udcff"', "[" * 9999])
def test_input_that_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="not JSON"):
        inputs.json_input(text)


def test_an_input_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match=r"gone\.json cannot be read"):
        inputs.json_input(f"@{tmp_path / 'gone.json'}")


def test_network_is_a_word_or_destinations() -> None:
    assert inputs.network(None) is None
    assert inputs.network(["egress"]) == "egress"
    assert inputs.network(["10.0.0.0/8", "api:443"]) == ["10.0.0.0/8", "api:443"]
    with pytest.raises(typer.BadParameter, match="not several"):
        inputs.network(["egress", "api:443"])


def test_standard_input_is_for_one_thing() -> None:
    inputs.claim_stdin(source=True, json=False, stdin=False)
    with pytest.raises(typer.BadParameter, match="one of"):
        inputs.claim_stdin(source=True, json=False, stdin=True)
