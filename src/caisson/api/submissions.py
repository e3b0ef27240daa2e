"""From a POST request to a Submission: the body in either of its two forms, its archive, and its idempotency key."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import msgspec
from msgspec.structs import replace
from starlette.requests import Request

from caisson.api.answers import JSON
from caisson.api.auth import Principal
from caisson.api.bodies import read_body
from caisson.api.multipart import ARCHIVE, SPEC, read_multipart
from caisson.api.uploads import Upload, feed_base64, open_upload
from caisson.api.validation import decode_spec
from caisson.engine.intake import Submission
from caisson.errors import Refusal, Refused
from caisson.model import MAX_BODY_BYTES, WorkloadSpec

MULTIPART = "multipart/form-data"
IDEMPOTENCY_KEY = "Idempotency-Key"
IDEMPOTENCY_KEY_PATTERN = r"^[!-~]{1,255}$"

_key = re.compile(IDEMPOTENCY_KEY_PATTERN.strip("^$"))
_encoder = msgspec.json.Encoder(order="sorted")


async def read_submission(request: Request, who: Principal, data_dir: Path, *, durable: bool) -> Submission:
    """What the request asks for. The caller passes it to the engine at once, which then owns the archive.

    `durable`: the archive must survive a crash from here on. Raises Refused (400, 413, 415, 422).
    """
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    key = _idempotency_key(request)
    if kind == MULTIPART:
        async with open_upload(data_dir) as upload:
            spec = decode_spec(await read_multipart(request, upload), SPEC, archive_apart=True)
            return await _with_archive(spec, who, key, upload, ARCHIVE, durable=durable)
    if kind != JSON or not is_utf8(parameters):
        message = f"the body must be {JSON} in UTF-8, or {MULTIPART}"
        raise Refused(415, Refusal.UNSUPPORTED_MEDIA_TYPE, message, member="Content-Type")
    spec = decode_spec(await read_body(request, MAX_BODY_BYTES))
    if spec.code_archive is None:
        fingerprint = _fingerprint(spec) if key else ""
        return Submission(spec, who.tenant, idempotency_key=key, fingerprint=fingerprint, actor=who.actor)
    async with open_upload(data_dir) as upload:
        await feed_base64(upload, spec.code_archive)
        spec = replace(spec, code_archive=None)
        return await _with_archive(spec, who, key, upload, "code_archive", durable=durable)


async def _with_archive(
    spec: WorkloadSpec, who: Principal, key: str | None, upload: Upload, member: str, *, durable: bool
) -> Submission:
    summary = await upload.finish(member, spec.resources.disk_mb << 20, durable=durable)
    return Submission(
        spec,
        who.tenant,
        actor=who.actor,
        archive=upload.hand_over(),
        archive_names=summary.files,
        idempotency_key=key,
        fingerprint=_fingerprint(spec, upload.fingerprint) if key else "",
    )


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and not _key.fullmatch(key):
        message = f"{IDEMPOTENCY_KEY} must be 1 to 255 visible ASCII characters"
        raise Refused(400, Refusal.MALFORMED, message, member=IDEMPOTENCY_KEY)
    return key


def is_utf8(parameters: str) -> bool:
    """True if the parameters of a content type name no other encoding than UTF-8."""
    name, _, value = parameters.strip().partition("=")
    return name.lower() != "charset" or value.strip(' "').lower() in ("utf-8", "utf8")


def _fingerprint(spec: WorkloadSpec, archive: str = "") -> str:
    """SHA-256 over the request's meaning: the same for any order of members and either way to send an archive."""
    return hashlib.sha256(_encoder.encode(spec) + archive.encode()).hexdigest()
