"""Reads a `multipart/form-data` request: a small part `spec`, and a part `archive` that goes to disk piece by piece."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from caisson.api.bodies import BODY, body_pieces, too_large
from caisson.api.uploads import Upload
from caisson.errors import Refusal, Refused
from caisson.model import MAX_ARCHIVE_BYTES, MAX_BODY_BYTES

SPEC, ARCHIVE = "spec", "archive"
_OVERHEAD_BYTES = 64 * 1024
MAX_MULTIPART_BYTES = MAX_ARCHIVE_BYTES + MAX_BODY_BYTES + _OVERHEAD_BYTES


async def read_multipart(request: Request, upload: Upload) -> bytearray:
    """Receive both parts, in either order; returns the spec's JSON text. Raises Refused (400, 413)."""
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if not boundary:
        raise Refused(400, Refusal.MALFORMED, "the multipart body has no boundary", member="Content-Type")
    form = _Form(upload)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin_part,
                "on_header_field": form.add_to_header_name,
                "on_header_value": form.add_to_header_value,
                "on_header_end": form.end_header,
                "on_headers_finished": form.end_headers,
                "on_part_data": form.add_data,
                "on_end": form.end,
            },
        )
        async for piece in body_pieces(request, MAX_MULTIPART_BYTES):
            parser.write(piece)
            await upload.flush()
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, Refusal.MALFORMED, f"the multipart body is damaged: {error}", member=BODY) from None
    return form.result()


class _Form:
    """The parts seen so far. Its methods are called by the parser, in the order of the text."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._spec = bytearray()
        self._seen: set[str] = set()
        self._part = ""
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._ended = False

    def begin_part(self) -> None:
        self._disposition = b""

    def add_to_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def add_to_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"")[:200].decode("utf-8", "backslashreplace")
        if name not in (SPEC, ARCHIVE):
            message = f"there is no part `{name}`, only `{SPEC}` and `{ARCHIVE}`"
            raise Refused(400, Refusal.UNKNOWN_MEMBER, message, member=name)
        if name in self._seen:
            raise Refused(400, Refusal.MALFORMED, f"the part `{name}` stands there twice", member=name)
        self._seen.add(name)
        self._part = name

    def add_data(self, data: bytes, start: int, end: int) -> None:
        piece = memoryview(data)[start:end]
        if self._part == ARCHIVE:
            self._upload.feed(piece)
            return
        self._spec += piece
        if len(self._spec) > MAX_BODY_BYTES:
            raise too_large(f"the part `{SPEC}`", MAX_BODY_BYTES, SPEC)

    def end(self) -> None:
        self._ended = True

    def result(self) -> bytearray:
        """The spec, once the whole body was parsed. Raises Refused if anything is missing."""
        if not self._ended:
            raise Refused(400, Refusal.MALFORMED, "the multipart body is cut off", member=BODY)
        for name in (SPEC, ARCHIVE):
            if name not in self._seen:
                raise Refused(400, Refusal.MALFORMED, f"the part `{name}` is missing", member=name)
        return self._spec
