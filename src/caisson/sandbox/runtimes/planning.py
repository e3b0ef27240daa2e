"""From a workload's description to a job: checks the files, finds the entrypoint, decodes the code."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from msgspec.structs import replace

from caisson.errors import Refusal, Refused
from caisson.images.oci.reference import parse_reference
from caisson.model import Runtime, WorkloadSpec
from caisson.sandbox.contract import Job
from caisson.sandbox.runtimes.bash import BASH
from caisson.sandbox.runtimes.go import GO
from caisson.sandbox.runtimes.language import Language
from caisson.sandbox.runtimes.node import NODE
from caisson.sandbox.runtimes.oci import OCI
from caisson.sandbox.runtimes.python import PYTHON
from caisson.sandbox.runtimes.wasm import WASM

RUNTIMES: Mapping[Runtime, Language] = {language.runtime: language for language in (PYTHON, NODE, GO, WASM, OCI, BASH)}
MAX_NAME_BYTES = 255
"""Linux's NAME_MAX."""


def normalise(spec: WorkloadSpec, archive_names: Collection[str] = ()) -> WorkloadSpec:
    """The spec with its entrypoint filled in, and without its archive, which lies on disk by now.

    `archive_names` are the files of that archive, if it has one. Raises Refused (422) naming the member if no sandbox
    could run it.
    """
    language = RUNTIMES[spec.runtime]
    if spec.runtime is Runtime.OCI:
        return _normalise_image(spec)
    if spec.image is not None or spec.command is not None:
        raise _impossible("image" if spec.image is not None else "command", "`image` and `command` need runtime oci")
    names: Collection[str]
    if spec.code is not None:
        if language.binary:
            _decode(spec.code)
        names = {spec.entrypoint or language.code_file}
    elif spec.files is not None:
        if language.binary:
            raise _impossible("files", f"`files` holds text; give a {spec.runtime} module as `code` or `code_archive`")
        names = spec.files
    else:
        names = archive_names
    check_paths(names, "entrypoint" if spec.code is not None else "files")
    return replace(spec, entrypoint=_entrypoint(language, spec.entrypoint, names), code_archive=None)


def _normalise_image(spec: WorkloadSpec) -> WorkloadSpec:
    if spec.image is None:
        given = next((name for name in ("code", "files", "code_archive") if getattr(spec, name) is not None), "image")
        raise _impossible(given, "runtime oci runs an `image`, and takes no code beside it")
    if spec.entrypoint is not None:
        raise _impossible("entrypoint", "runtime oci has no entry file; name a program in `command`")
    try:
        parse_reference(spec.image)
    except ValueError as error:
        raise _impossible("image", str(error)) from error
    return spec


def plan(workload_id: str, spec: WorkloadSpec, archive: Path | None) -> Job:
    """The job of a normalised spec; `archive` is where its archive lies, if it has one."""
    language = RUNTIMES[spec.runtime]
    entrypoint = spec.entrypoint or language.code_file
    files: dict[str, bytes] = {}
    if spec.code is not None:
        files[entrypoint] = _decode(spec.code) if language.binary else _encode(spec.code)
    elif spec.files is not None:
        files = {name: _encode(text) for name, text in spec.files.items()}
    return Job(
        id=workload_id,
        runtime=spec.runtime,
        entrypoint=entrypoint,
        resources=spec.resources,
        files=files,
        archive=archive,
        input=bytes(spec.input),
        stdin=None if spec.stdin is None else _encode(spec.stdin),
        env=spec.env,
        args=tuple(spec.args),
        command=tuple(spec.command or ()),
        network=spec.network,
        image=spec.image,
    )


def check_paths(names: Iterable[str], member: str) -> None:
    """Raise Refused (422) for a name that is not a plain relative path, or that is both file and folder."""
    files = set(names)
    for name in files:
        parts = name.split("/")
        if (
            any(part in ("", ".", "..") or len(part.encode()) > MAX_NAME_BYTES for part in parts)
            or "\0" in name
            or "\\" in name
        ):
            raise _impossible(member, f"`{name}` is not a relative path below the work folder")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in files:
                raise _impossible(member, f"`{'/'.join(parts[:depth])}` is both a file and the folder of `{name}`")


def _entrypoint(language: Language, wanted: str | None, names: Collection[str]) -> str:
    if wanted is not None:
        if wanted not in names:
            raise _impossible("entrypoint", f"there is no file `{wanted}` among those given")
        return wanted
    if language.code_file in names:
        return language.code_file
    for name in language.entry_names:
        if name in names:
            return name
    fitting = sorted(name for name in names if name.endswith(language.suffixes))
    if len(fitting) == 1:
        return fitting[0]
    found = f"{len(fitting)} files could be it" if fitting else f"no file ends in {' '.join(language.suffixes)}"
    raise _impossible("entrypoint", f"which file to run is not clear ({found}); name it in `entrypoint`")


def _decode(code: str) -> bytes:
    try:
        return base64.b64decode(code, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _impossible("code", f"`code` must be the module in base64: {error}") from error


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _impossible(member: str, message: str) -> Refused:
    return Refused(422, Refusal.INVALID_VALUE, message, member=member)
