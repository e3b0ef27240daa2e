"""Which member of a request is at fault and how badly: from the validators' messages to a Refused.

400 is for what does not have the form of a request (syntax, types, members that do not exist or are missing), 422 for
what has it and yet cannot be (a value outside its range or list, members that exclude each other).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from caisson.api.bodies import BODY
from caisson.benchmark import BenchmarkRequest
from caisson.destinations import parse_destination
from caisson.errors import Refusal, Refused
from caisson.model import NetworkAllow, Resources, WorkloadSpec

CODE_MEMBERS = ("code", "files", "code_archive", "image")
MAX_NAME_CHARS = 200
MAX_NAMES = 50
"""Of the members that do not exist, so many are named."""

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

_OBJECTS: dict[str, type[msgspec.Struct]] = {"resources": Resources, "network": NetworkAllow}
"""Members of a spec that are, or can be, objects with members of their own."""

_decoder = msgspec.json.Decoder(WorkloadSpec)


def decode_spec(body: bytes | bytearray, whole: str | None = BODY, *, archive_apart: bool = False) -> WorkloadSpec:
    """The spec in `body`, checked as far as it can be without knowing this host. Raises Refused (400, 422).

    `whole` is the member at fault where it is none of the spec's own but all of it. `archive_apart`: its code comes in
    a part of its own, so that no member may carry any.
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal_of_body(error, body, WorkloadSpec, whole) from None
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusal_of_body(error, body, _BenchmarkBody, BODY) from None
    if parts.workload == msgspec.Raw(b"null"):
        return request
    try:
        workload = decode_spec(bytes(parts.workload), None)
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


def refusal_of_body(
    error: Exception, body: bytes | bytearray, wanted: type[msgspec.Struct], whole: str | None
) -> Refused:
    """What it means for the user that msgspec's decoder did not make a `wanted` of `body`.

    `whole` is the member at fault where it is all of the body.
    """
    match error:
        case msgspec.ValidationError():
            return _refusal_of_member(str(error), body, wanted, whole)
        case UnicodeDecodeError():
            wrong = "is not valid UTF-8"
        case RecursionError():
            wrong = "is nested too deeply"
        case _:
            wrong = f"is not valid JSON: {error}"
    what = "the body" if whole in (BODY, None) else f"`{whole}`"
    return Refused(400, Refusal.MALFORMED, f"{what} {wrong}", member=whole)


def _refusal_of_member(
    message: str, body: bytes | bytearray, wanted: type[msgspec.Struct], whole: str | None
) -> Refused:
    # The text before the place can quote the request, the place cannot: so it is looked for from the right.
    text, at, place = message.rpartition(" - at ")
    if not at:
        text, place = place, "`$`"
    member = _dotted(place)
    if found := _UNKNOWN.fullmatch(text):
        # The decoder stops at the first one, and cannot say whether what comes behind it is JSON at all.
        first = _join(member, found[1])
        others = [name for name in islice(_unknown_members(body, wanted), MAX_NAMES) if name != first]
        return unknown_members([first, *others], "member")
    if found := _MISSING.fullmatch(text):
        name = _join(member, found[1])
        return Refused(400, Refusal.MALFORMED, f"the member `{name}` is missing", member=name)
    where = f"`{member}`: " if member else ""
    if _IMPOSSIBLE.match(text):
        if "matching regex" in text:
            text = _EXPLANATIONS.get(member or "", "there is a character that is not allowed")
        return Refused(422, Refusal.INVALID_VALUE, where + text, member=member or whole)
    return Refused(400, Refusal.MALFORMED, where + text, member=member or whole)


def unknown_members(names: Sequence[str], kind: str) -> Refused:
    """The refusal of what does not exist, each of a `kind`; all are told, and the first is the member at fault."""
    told = ", ".join(f"`{name}`" for name in names)
    message = f"there is no {kind} {told}" if len(names) == 1 else f"there are no {kind}s {told}"
    return Refused(400, Refusal.UNKNOWN_MEMBER, message, member=names[0])


def _unknown_members(
    body: bytes | bytearray | msgspec.Raw, wanted: type[msgspec.Struct], parent: str | None = None
) -> Iterator[str]:
    """Members of the object in `body` that a `wanted` does not have, in their order; none of what is no object."""
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    for name, value in members.items():
        if name not in wanted.__struct_encode_fields__:
            yield _join(parent, name)
        elif wanted is WorkloadSpec and name in _OBJECTS:
            yield from _unknown_members(value, _OBJECTS[name], name)


def _dotted(place: str) -> str | None:
    """`$.resources.mem_mb` as `resources.mem_mb`; a key or value somewhere in an object is named by the object."""
    path = _PLACE.sub("", place).strip("`").removeprefix("$").removeprefix(".")
    return path.removesuffix("[...]")[:MAX_NAME_CHARS] or None


def _join(parent: str | None, name: str) -> str:
    return f"{parent}.{name}"[:MAX_NAME_CHARS] if parent else name[:MAX_NAME_CHARS]


def refusal_of_query(errors: Sequence[Mapping[str, Any]]) -> Refused:
    """What pydantic's errors about query parameters and headers mean for the user: the first, or all that are alike."""
    error = errors[0]
    name, kind, message = _name_of(error), error["type"], error["msg"]
    if kind == "extra_forbidden":
        return unknown_members([_name_of(each) for each in errors if each["type"] == kind], "query parameter")
    if kind in _IMPOSSIBLE_QUERY:
        return Refused(422, Refusal.INVALID_VALUE, f"`{name}`: {message}", member=name)
    return Refused(400, Refusal.MALFORMED, f"`{name}`: {message}", member=name)


def _name_of(error: Mapping[str, Any]) -> str:
    return str(error["loc"][-1])[:MAX_NAME_CHARS]
