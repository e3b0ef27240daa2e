"""Which member of a request is at fault and how badly: from the validators' messages to a Refused.

400 is for what does not have the form of a request (syntax, types, members that do not exist or are missing), 422 for
what has it and yet cannot be (a value outside its range or list, members that exclude each other).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from caisson.benchmark import BenchmarkRequest
from caisson.destinations import parse_destination
from caisson.errors import Refusal, Refused
from caisson.model import NetworkAllow, WorkloadSpec

CODE_MEMBERS = ("code", "files", "code_archive", "image")
MAX_NAME_CHARS = 200

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_IMPOSSIBLE = re.compile(
    r"Invalid enum value |.* out of range|Expected `[a-z]+` (?:[<>]|matching regex|of length)", re.DOTALL
)
_PLACE = re.compile(r"`(key|value)` in ")
_EXPLANATIONS = {
    "files": "a name in `files` must be a relative path without `.`, `..`, empty names, backslashes and NULs",
    "entrypoint": "`entrypoint` must be a relative path without `.`, `..`, empty names, backslashes and NULs",
    "env": "a name in `env` must be letters, digits and `_`, not beginning with a digit; a value has no NUL",
    "labels": "a name in `labels` must be letters and digits, inside also `._/-`; a value has no control characters",
}
_IMPOSSIBLE_QUERY = {
    "enum",
    "finite_number",
    "greater_than_equal",
    "int_parsing_size",
    "less_than_equal",
    "string_pattern_mismatch",
    "string_too_long",
    "string_too_short",
}

_INTEGER_AS_FLOAT = ("Expected `int`, got `float` - at `$.resources.", "Expected `int`, got `float` - at `$.retries`")

_decoder = msgspec.json.Decoder(WorkloadSpec)


def decode_spec(body: bytes | bytearray, *, archive_apart: bool = False) -> WorkloadSpec:
    """The spec in `body`, checked as far as it can be without knowing this host. Raises Refused (400, 422).

    `archive_apart`: its code comes in a part of its own, so that no member may carry any.
    """
    try:
        try:
            spec = _decoder.decode(body)
        except msgspec.ValidationError as error:
            if not str(error).startswith(_INTEGER_AS_FLOAT):
                raise
            spec = _decoder.decode(_with_plain_integers(body))
        # Raw is a view of the body, all of which it would keep in memory for as long as the workload lives.
        value = bytes(spec.input)
        if not value.isascii():
            value.decode("utf-8")
    except msgspec.ValidationError as error:
        raise refusal_of_body(error) from None
    except msgspec.DecodeError as error:
        raise Refused(400, Refusal.MALFORMED, f"the body is not valid JSON: {error}") from None
    except UnicodeDecodeError:
        raise Refused(400, Refusal.MALFORMED, "the body is not valid UTF-8") from None
    except RecursionError:
        raise Refused(400, Refusal.MALFORMED, "the body is nested too deeply") from None
    _check_code_members(spec, archive_apart)
    if isinstance(spec.network, NetworkAllow):
        _check_destinations(spec.network)
    return msgspec.structs.replace(spec, input=msgspec.Raw(value))


class _BenchmarkBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A BenchmarkRequest whose parts are not yet looked at."""

    workload: msgspec.Raw = msgspec.Raw(b"null")
    isolations: msgspec.Raw = msgspec.Raw(b"null")
    runtimes: msgspec.Raw = msgspec.Raw(b"null")
    runs: msgspec.Raw = msgspec.Raw(b"")
    clients: msgspec.Raw = msgspec.Raw(b"")


def decode_benchmark(body: bytes | bytearray) -> BenchmarkRequest:
    """The request for a benchmark. Raises Refused (400, 422)."""
    try:
        parts = msgspec.json.decode(body, type=_BenchmarkBody)
        numbers = {name: getattr(parts, name) for name in ("runs", "clients")}
        members = {name: _plain(number) for name, number in numbers.items() if number}
        rest = msgspec.json.encode({"isolations": parts.isolations, "runtimes": parts.runtimes, **members})
        request = msgspec.json.decode(rest, type=BenchmarkRequest)
    except msgspec.ValidationError as error:
        raise refusal_of_body(error) from None
    except msgspec.DecodeError as error:
        raise Refused(400, Refusal.MALFORMED, f"the body is not valid JSON: {error}") from None
    except UnicodeDecodeError:
        raise Refused(400, Refusal.MALFORMED, "the body is not valid UTF-8") from None
    except RecursionError:
        raise Refused(400, Refusal.MALFORMED, "the body is nested too deeply") from None
    if parts.workload == msgspec.Raw(b"null"):
        return request
    try:
        workload = decode_spec(bytes(parts.workload))
        if workload.code_archive is not None:
            message = "an archive cannot be compared; give `files` instead"
            raise Refused(422, Refusal.INVALID_VALUE, message, member="code_archive")
    except Refused as refused:
        member = f"workload.{refused.member}" if refused.member else "workload"
        raise Refused(refused.status, refused.reason, refused.message, member=member) from None
    return msgspec.structs.replace(request, workload=workload)


def _plain(number: msgspec.Raw) -> msgspec.Raw:
    """`10` for `10.0`: to JSON that is one number, to the decoder it is not."""
    value = msgspec.json.decode(number)
    return msgspec.Raw(msgspec.json.encode(int(value))) if isinstance(value, float) and value.is_integer() else number


def _with_plain_integers(body: bytes | bytearray) -> bytes:
    """The body with `256.0` written as `256` where integers belong: to JSON that is one number, to the decoder not."""
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if "retries" in members:
        members["retries"] = _plain(members["retries"])
    if "resources" in members:
        resources = msgspec.json.decode(members["resources"], type=dict[str, msgspec.Raw])
        whole = {name: _plain(number) for name, number in resources.items()}
        members["resources"] = msgspec.Raw(msgspec.json.encode(whole))
    return msgspec.json.encode(members)


def _check_code_members(spec: WorkloadSpec, archive_apart: bool) -> None:
    given = [name for name in CODE_MEMBERS if getattr(spec, name) is not None]
    if archive_apart and given:
        raise Refused(
            422, Refusal.INVALID_VALUE, f"`{given[0]}` cannot be given beside the part `archive`", member=given[0]
        )
    if not archive_apart and len(given) != 1:
        both = " and ".join(f"`{name}`" for name in given)
        choice = "exactly one of `code`, `files`, `code_archive` and `image` must be given"
        found = f"{both} are" if given else "none is"
        raise Refused(422, Refusal.INVALID_VALUE, f"{choice}, {found}", member=given[1] if given else "code")


def _check_destinations(network: NetworkAllow) -> None:
    for index, text in enumerate(network.allow):
        try:
            parse_destination(text)
        except ValueError as error:
            raise Refused(
                422, Refusal.INVALID_VALUE, f"{text!r} is {error}", member=f"network.allow[{index}]"
            ) from None


def refusal_of_body(error: msgspec.ValidationError) -> Refused:
    """What a message of msgspec's decoder means for the user."""
    # The text before the place can quote the request, the place cannot: so it is looked for from the right.
    text, at, place = str(error).rpartition(" - at ")
    if not at:
        text, place = place, "`$`"
    member = _dotted(place)
    if found := _UNKNOWN.fullmatch(text):
        name = _join(member, found[1])
        return Refused(400, Refusal.UNKNOWN_MEMBER, f"there is no member `{name}`", member=name)
    if found := _MISSING.fullmatch(text):
        name = _join(member, found[1])
        return Refused(400, Refusal.MALFORMED, f"the member `{name}` is missing", member=name)
    where = f"`{member}`: " if member else ""
    if _IMPOSSIBLE.match(text):
        if "matching regex" in text:
            text = _EXPLANATIONS.get(member or "", "there is a character that is not allowed")
        return Refused(422, Refusal.INVALID_VALUE, where + text, member=member)
    return Refused(400, Refusal.MALFORMED, where + text, member=member)


def _dotted(place: str) -> str | None:
    """`$.resources.mem_mb` as `resources.mem_mb`; a key or value somewhere in an object is named by the object."""
    path = _PLACE.sub("", place).strip("`").removeprefix("$").removeprefix(".")
    return path.removesuffix("[...]")[:MAX_NAME_CHARS] or None


def _join(parent: str | None, name: str) -> str:
    return f"{parent}.{name}"[:MAX_NAME_CHARS] if parent else name[:MAX_NAME_CHARS]


def refusal_of_query(error: Mapping[str, Any]) -> Refused:
    """What one of pydantic's errors about a query parameter or header means for the user."""
    name, kind, message = str(error["loc"][-1])[:MAX_NAME_CHARS], error["type"], error["msg"]
    if kind == "extra_forbidden":
        return Refused(400, Refusal.UNKNOWN_MEMBER, f"there is no query parameter `{name}`", member=name)
    if kind in _IMPOSSIBLE_QUERY:
        return Refused(422, Refusal.INVALID_VALUE, f"`{name}`: {message}", member=name)
    return Refused(400, Refusal.MALFORMED, f"`{name}`: {message}", member=name)
