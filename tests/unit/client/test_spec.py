"""Keywords become a specification."""

from __future__ import annotations

import base64

import msgspec
import pytest

from caisson.client.spec import build_spec, spec_of
from caisson.model import IsolationChoice, NetworkAllow, Runtime, WorkloadSpec


def test_what_is_left_out_is_not_sent() -> None:
    assert msgspec.json.decode(msgspec.json.encode(build_spec({"runtime": "node", "code": "1"}))) == {
        "runtime": "node",
        "code": "1",
        "input": None,
    }


def test_every_keyword_finds_its_member() -> None:
    spec = build_spec(
        {
            "runtime": "python",
            "isolation": "gvisor",
            "files": {"a.py": "1"},
            "entrypoint": "a.py",
            "input": {"a": [1, None]},
            "env": {"K": "v"},
            "args": ("x",),
            "stdin": "in",
            "cpus": 2,
            "mem_mb": 64,
            "disk_mb": 5,
            "timeout_s": 1.5,
            "max_output_bytes": 10,
            "network": ["10.0.0.0/8"],
            "labels": {"team": "a"},
        }
    )
    assert spec.runtime is Runtime.PYTHON
    assert spec.isolation is IsolationChoice.GVISOR
    assert (spec.files, spec.entrypoint, bytes(spec.input)) == ({"a.py": "1"}, "a.py", b'{"a":[1,null]}')
    assert (spec.env, spec.args, spec.stdin, spec.labels) == ({"K": "v"}, ["x"], "in", {"team": "a"})
    limits = spec.resources
    assert (limits.cpus, limits.mem_mb, limits.disk_mb, limits.timeout_s, limits.max_output_bytes) == (
        2,
        64,
        5,
        1.5,
        10,
    )
    assert spec.network == NetworkAllow(allow=("10.0.0.0/8",))


def test_a_module_given_as_bytes_travels_as_base64() -> None:
    assert build_spec({"runtime": "wasm", "code": b"\0asm"}).code == base64.b64encode(b"\0asm").decode()


def test_an_input_of_none_is_null_and_text_that_is_not_ascii_stays_readable() -> None:
    assert bytes(build_spec({"runtime": "node", "code": "", "input": None}).input) == b"null"
    assert bytes(build_spec({"runtime": "node", "code": "", "input": "é"}).input) == '"é"'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_numbers_that_json_cannot_say_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        build_spec({"runtime": "node", "code": "", "input": value})


def test_a_misspelt_keyword_is_named() -> None:
    with pytest.raises(TypeError, match="tiemout_s"):
        build_spec({"runtime": "node", "tiemout_s": 3})  # type: ignore[typeddict-unknown-key]  # the point


def test_a_runtime_is_needed() -> None:
    with pytest.raises(TypeError, match="runtime"):
        build_spec({"code": ""})  # type: ignore[typeddict-item]  # the point


def test_a_network_that_is_a_misspelt_word_is_refused() -> None:
    with pytest.raises(ValueError, match="egres"):
        build_spec({"runtime": "node", "network": "egres"})


def test_a_specification_and_keywords_together_are_refused() -> None:
    with pytest.raises(TypeError, match="both"):
        spec_of(WorkloadSpec(runtime=Runtime.NODE), {"runtime": "node"})
