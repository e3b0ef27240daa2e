"""Builds a workload's specification from plain Python keywords."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from msgspec import Raw

from caisson.model import IsolationChoice, Network, NetworkAllow, Resources, Runtime, WorkloadSpec


class SpecOptions(TypedDict, total=False):
    """The keywords of `run` and `submit`; what is left out has the server's default."""

    runtime: Required[Runtime | str]
    isolation: IsolationChoice | str
    code: str | bytes
    """Source text, or the bytes of a WebAssembly module."""
    files: Mapping[str, str]
    image: str
    command: Sequence[str]
    entrypoint: str
    input: Any
    """Anything that JSON can say."""
    env: Mapping[str, str]
    args: Sequence[str]
    stdin: str
    cpus: float
    mem_mb: int
    disk_mb: int
    timeout_s: float
    max_output_bytes: int
    network: Literal["none", "egress"] | Sequence[str]
    """`none`, `egress`, or the only destinations allowed."""
    labels: Mapping[str, str]
    retries: int
    idempotent: bool


_RESOURCES = frozenset(Resources.__struct_fields__)
_AS_THEY_ARE = frozenset({"image", "entrypoint", "stdin", "retries", "idempotent"})


def spec_of(spec: WorkloadSpec | None, options: SpecOptions) -> WorkloadSpec:
    """`spec`, or the one that `options` describe; giving both is a TypeError."""
    if spec is None:
        return build_spec(options)
    if options:
        raise TypeError(f"give a WorkloadSpec or keywords, not both: {', '.join(sorted(options))}")
    return spec


def build_spec(options: SpecOptions) -> WorkloadSpec:
    """The specification that `options` describe. Raises ValueError or TypeError for what cannot be one."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if unknown := given.keys() - SpecOptions.__annotations__.keys():
        raise TypeError(f"unknown keyword: {', '.join(sorted(unknown))}")
    if "runtime" not in given:
        raise TypeError("`runtime` is needed")
    members: dict[str, Any] = {name: given[name] for name in _AS_THEY_ARE & given.keys()}
    members["runtime"] = Runtime(given["runtime"])
    if "isolation" in given:
        members["isolation"] = IsolationChoice(given["isolation"])
    if "code" in given:
        members["code"] = _code(given["code"])
    if "input" in options:
        members["input"] = encode_json(options["input"])
    if "network" in given:
        members["network"] = _network(given["network"])
    members |= {name: dict(given[name]) for name in ("files", "env", "labels") if name in given}
    members |= {name: list(given[name]) for name in ("args", "command") if name in given}
    if limits := {name: given[name] for name in _RESOURCES & given.keys()}:
        members["resources"] = Resources(**limits)
    return WorkloadSpec(**members)


def encode_json(value: object) -> Raw:
    """`value` as JSON text; a Raw is that already. Raises ValueError for NaN and infinities, which JSON cannot say."""
    if isinstance(value, Raw):
        return value
    return Raw(json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode())


def _code(code: str | bytes) -> str:
    return code if isinstance(code, str) else base64.b64encode(code).decode("ascii")


def _network(network: str | Sequence[str]) -> Network:
    if network == "none":
        return "none"
    if network == "egress":
        return "egress"
    if isinstance(network, str):
        raise ValueError(f"network is 'none', 'egress' or a list of destinations, not {network!r}")
    return NetworkAllow(allow=tuple(network))
