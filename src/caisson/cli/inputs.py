"""Reads what `caisson run` is given besides code: environment, labels, and JSON input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import typer


def environment(pairs: Iterable[str]) -> dict[str, str]:
    """`K=V` as it is; `K` alone has the value it has here."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, given, value = pair.partition("=")
        if not given:
            if name not in os.environ:
                raise typer.BadParameter(f"{name} is not set here; give it a value: --env {name}=VALUE")
            value = os.environ[name]
        found[name] = value
    return found


def labels(pairs: Iterable[str]) -> dict[str, str]:
    """`NAME=VALUE` pairs."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, given, value = pair.partition("=")
        if not given:
            raise typer.BadParameter(f"a label is NAME=VALUE, not {pair!r}")
        found[name] = value
    return found


def json_input(text: str, option: str = "--input") -> msgspec.Raw:
    """JSON text, `@FILE`, or `-` for standard input; sent as it was written, once it is known to be JSON."""
    where, content = option, os.fsencode(text)
    if text == "-":
        where, content = "standard input", sys.stdin.buffer.read()
    elif text.startswith("@"):
        where = text[1:]
        try:
            content = Path(where).read_bytes()
        except OSError as error:
            raise typer.BadParameter(f"{where} cannot be read: {error.strerror}") from error
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise typer.BadParameter(f"{where} is not JSON: {error}") from error
    return msgspec.Raw(content)


def claim_stdin(*, source: bool, json: bool, stdin: bool) -> None:
    """Standard input can be read once: refuse a command line that wants it for two things."""
    if source + json + stdin > 1:
        raise typer.BadParameter("standard input can be one of the source (-), the input (--input -) and --stdin")


def text_from_stdin() -> str:
    """All of standard input, which must be text."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"standard input is not UTF-8 text ({error.reason} at byte {error.start})") from error


def network(values: Sequence[str] | None) -> str | list[str] | None:
    """`none`, `egress`, or a list of the only destinations allowed."""
    match values:
        case None | []:
            return None
        case ["none" | "egress" as kind]:
            return kind
    if {"none", "egress"} & set(values):
        raise typer.BadParameter("--network is none, or egress, or destinations; not several of these")
    return list(values)
