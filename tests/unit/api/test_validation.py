"""A request is refused with the right status, and with the name of the member at fault."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.api.validation import MAX_NAMES, decode_benchmark, decode_spec
from caisson.errors import Refusal, Refused

GOOD: dict[str, Any] = {"runtime": "node", "code": "1"}


def refusal(body: bytes | dict[str, Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        decode_spec(body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"runtime": None}, "runtime"),
        ({"runtime": 1}, "runtime"),
        ({"code": ["x"]}, "code"),
        ({"resources": {"mem_mb": "1"}}, "resources.mem_mb"),
        ({"resources": {"mem_mb": 256.5}}, "resources.mem_mb"),
        ({"resources": []}, "resources"),
        ({"env": {"A": 1}}, "env"),
        ({"args": ["a", 1]}, "args[1]"),
        ({"network": 3}, "network"),
        ({"network": {}}, "network.allow"),
    ],
)
def test_a_wrong_type_is_malformed_and_named(changes: dict[str, Any], member: str) -> None:
    refused = refusal(GOOD | changes)
    assert (refused.status, refused.reason, refused.member) == (400, Refusal.MALFORMED, member)


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"tpyo": 1}, "tpyo"),
        ({"resources": {"memory": 1}}, "resources.memory"),
        ({"network": {"alow": []}}, "network.alow"),
        ({"n" * 5000: 1}, "n" * 200),
    ],
)
def test_an_unknown_member_is_named(changes: dict[str, Any], member: str) -> None:
    refused = refusal(GOOD | changes)
    assert (refused.status, refused.reason, refused.member) == (400, Refusal.UNKNOWN_MEMBER, member)


def test_all_unknown_members_are_named_and_the_first_is_at_fault() -> None:
    refused = refusal(GOOD | {"foo": 1, "resources": {"ram": 1, "cpu": 2}, "network": {"alow": []}, "bar": 2})
    assert (refused.status, refused.reason, refused.member) == (400, Refusal.UNKNOWN_MEMBER, "foo")
    assert refused.message == ("there are no members `foo`, `resources.ram`, `resources.cpu`, `network.alow`, `bar`")
    assert refusal(GOOD | {"tpyo": 1}).message == "there is no member `tpyo`"


@pytest.mark.parametrize("behind", [b"", b"{", b'"\xff": 1}', b'"b": ' + b"[" * 200_000])
def test_an_unknown_member_is_named_whatever_stands_behind_it(behind: bytes) -> None:
    refused = refusal(b'{"runtime": "node", "foo": 1, ' + behind)
    assert (refused.reason, refused.member) in ((Refusal.UNKNOWN_MEMBER, "foo"), (Refusal.MALFORMED, "body"))


def test_of_very_many_unknown_members_some_are_named() -> None:
    refused = refusal(GOOD | {f"member-{number}": number for number in range(100_000)})
    assert refused.member == "member-0"
    assert refused.message.count("`") == 2 * MAX_NAMES


def test_unknown_members_of_a_benchmark_and_its_workload_are_named() -> None:
    with pytest.raises(Refused) as caught:
        decode_benchmark(b'{"run": 1, "runs": 2, "client": 3}')
    assert (caught.value.member, caught.value.message) == ("run", "there are no members `run`, `client`")
    with pytest.raises(Refused) as caught:
        decode_benchmark(b'{"workload": {"runtime": "node", "code": "1", "foo": 1, "bar": 2}}')
    assert caught.value.member == "workload.foo"
    assert "`bar`" in caught.value.message


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"clients": 1'])
def test_a_benchmark_that_is_none_names_the_body(body: bytes) -> None:
    with pytest.raises(Refused) as caught:
        decode_benchmark(body)
    assert (caught.value.status, caught.value.member) == (400, "body")


@pytest.mark.parametrize("workload", [b"[]", b"1", b'"\xff"'])
def test_a_workload_to_compare_that_is_none_is_named(workload: bytes) -> None:
    with pytest.raises(Refused) as caught:
        decode_benchmark(b'{"workload": ' + workload + b"}")
    assert (caught.value.status, caught.value.member) == (400, "workload")


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"runtime": "cobol"}, "runtime"),
        ({"runtime": "x' - at `$.env`"}, "runtime"),
        ({"isolation": "none"}, "isolation"),
        ({"network": "all"}, "network"),
        ({"resources": {"mem_mb": 1}}, "resources.mem_mb"),
        ({"resources": {"mem_mb": 10**40}}, "resources.mem_mb"),
        ({"resources": {"timeout_s": 0}}, "resources.timeout_s"),
        ({"resources": {"cpus": 65}}, "resources.cpus"),
        ({"env": {"1A": "x"}}, "env"),
        ({"env": {"A\n": "x"}}, "env"),
        ({"env": {"A": "\0"}}, "env"),
        ({"labels": {"a": "b\n"}}, "labels"),
        ({"args": ["\0"]}, "args[0]"),
        ({"network": {"allow": []}}, "network.allow"),
        ({"network": {"allow": ["ok.example", "not ok"]}}, "network.allow[1]"),
        ({"entrypoint": "../x"}, "entrypoint"),
        ({"files": {"a": "1"}}, "files"),
        ({"image": "x"}, "image"),
    ],
)
def test_an_impossible_value_is_named(changes: dict[str, Any], member: str) -> None:
    refused = refusal(GOOD | changes)
    assert (refused.status, refused.reason, refused.member) == (422, Refusal.INVALID_VALUE, member)


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\\b", "a\0", "x" * 256])
def test_a_file_name_that_is_not_a_plain_relative_path_is_refused(name: str) -> None:
    refused = refusal({"runtime": "node", "files": {name: ""}})
    assert (refused.status, refused.member) == (422, "files")


@pytest.mark.parametrize("name", ["a", ".env", "..a", "...", "a.b", "lib/ü.js", "a b/c\nd", "x" * 255])
def test_a_plain_relative_path_is_a_file_name(name: str) -> None:
    assert decode_spec(json.dumps({"runtime": "node", "files": {name: ""}}).encode()).files == {name: ""}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"runtime": "node"} x', "not valid JSON"),
        (b'{"runtime": "node", "code": "1", "input": NaN}', "not valid JSON"),
        (b'{"runtime": "node", "code": "1", "resources": {"cpus": Infinity}}', "not valid JSON"),
        (b'{"runtime": "node", "code": "\\ud800"}', "not valid JSON"),
        (b'\xef\xbb\xbf{"runtime": "node"}', "not valid JSON"),
        (b'{"runtime": "node", "code": "\xff"}', "UTF-8"),
        (b'{"runtime": "node", "code": "1", "input": "\xff"}', "UTF-8"),
        (b'{"runtime": "node", "code": "1", "input": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "deep"),
        (b"[]", "Expected `object`"),
    ],
)
def test_what_is_not_json_is_malformed(body: bytes, detail: str) -> None:
    refused = refusal(body)
    assert (refused.status, refused.reason, refused.member) == (400, Refusal.MALFORMED, "body")
    assert detail in refused.message


def test_a_number_too_large_for_a_limit_is_impossible() -> None:
    refused = refusal(b'{"runtime": "node", "code": "1", "resources": {"cpus": 1e999}}')
    assert (refused.status, refused.member) == (422, "resources.cpus")


@pytest.mark.parametrize("text", ["64.0", "6.4e1", "64"])
def test_a_whole_number_is_one_however_it_is_written(text: str) -> None:
    spec = decode_spec(b'{"runtime": "node", "code": "1", "input": 1.0, "resources": {"mem_mb": %b}}' % text.encode())
    assert spec.resources.mem_mb == 64
    assert bytes(spec.input) == b"1.0"


def test_a_missing_runtime_is_named() -> None:
    refused = refusal({"code": "1"})
    assert (refused.status, refused.reason, refused.member) == (400, Refusal.MALFORMED, "runtime")


def test_code_comes_in_exactly_one_way_and_the_refusal_names_all_ways() -> None:
    none, two = refusal({"runtime": "node"}), refusal(GOOD | {"files": {"a": ""}})
    assert none.status == two.status == 422
    assert all(f"`{name}`" in none.message for name in ("code", "files", "code_archive", "image"))
    assert "`code` and `files` are" in two.message
    assert two.member == "files"


def test_beside_an_archive_no_member_carries_code() -> None:
    assert decode_spec(b'{"runtime": "node"}', archive_apart=True).code is None
    with pytest.raises(Refused) as caught:
        decode_spec(b'{"runtime": "node", "code": "1"}', archive_apart=True)
    assert (caught.value.status, caught.value.member) == (422, "code")


def test_the_input_is_kept_as_it_came_and_apart_from_the_body() -> None:
    body = bytearray(b'{"runtime": "node", "code": "1", "input": {"a": 1e999, "a": [1 , 2]}}')
    spec = decode_spec(body)
    body[:] = b"x" * len(body)
    assert bytes(spec.input) == b'{"a": 1e999, "a": [1 , 2]}'


def test_the_last_of_two_members_of_one_name_counts() -> None:
    assert decode_spec(b'{"runtime": "go", "code": "1", "runtime": "node"}').runtime == "node"


def test_a_destination_that_cannot_be_is_named_and_explained() -> None:
    with pytest.raises(Refused) as caught:
        decode_spec(json.dumps(GOOD | {"network": {"allow": ["10.1.0.0/16", "api.example:443", "127.0.0.1"]}}).encode())
    assert (caught.value.status, caught.value.member) == (422, "network.allow[2]")
    assert "no workload may reach" in caught.value.message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_spec_or_refused(body: bytes) -> None:
    try:
        decode_spec(body)
    except Refused as refused:
        assert refused.status in (400, 422)  # noqa: PT017  # a spec is as good; only other exceptions are failures


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from(["runtime", "code", "files", "input", "env", "args", "resources", "network", "labels", "x"])


@given(st.dictionaries(members, json_values, max_size=5))
def test_any_object_is_a_spec_or_refused(value: dict[str, Any]) -> None:
    try:
        decode_spec(json.dumps({"runtime": "node", "code": "1"} | value).encode())
    except Refused as refused:
        assert refused.status in (400, 422)  # noqa: PT017  # a spec is as good; only other exceptions are failures
