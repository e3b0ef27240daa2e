"""Serves the dashboard: the bundle that `make web` builds, from memory, on the same origin as the API.

It answers only what no route of the API answers. Its pages are one document that finds out in the browser which of them
it is; the documents and assets hold nothing of any tenant, so they are served without a key and ask for one themselves.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from mimetypes import guess_type
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

BUNDLE = Path(__file__).resolve().parent.parent / "web"
INDEX = "index.html"
ASSETS = "/assets/"
PAGES = frozenset({"new", "workloads", "backends", "nodes", "compare", "docs"})
"""First segments of the paths that are pages, besides the root."""
NONCE_MARK = b"{{nonce}}"
NOT_BUILT = (
    "The dashboard is not built.\n\n"
    "In a checkout, `make web` builds it; start the server again after that.\n"
    "The API works without it: /openapi.json describes it.\n"
)


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the bundle; `compressed` is the same with gzip, where the build found that worth it."""

    content: bytes
    compressed: bytes | None
    media_type: str


class Dashboard:
    """ASGI application behind all routes. What is neither page nor asset goes on to `otherwise`."""

    def __init__(self, otherwise: ASGIApp, bundle: Path = BUNDLE) -> None:
        self._otherwise = otherwise
        self._files = dict(_read(bundle))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._answer(scope) if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") else None
        await (answer or self._otherwise)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        found = self._files.get(scope["path"])
        if found is not None:
            return _asset(found, scope["path"], headers)
        if scope["path"].startswith((ASSETS, "/v1/")):
            return None
        if is_page(scope["path"]):
            return self._document(200)
        # A browser that follows a wrong link is shown the dashboard's own page for that.
        return self._document(404) if "text/html" in headers.get("accept", "") else None

    def _document(self, status: int) -> Response:
        index = self._files.get(f"/{INDEX}")
        if index is None:
            return Response(NOT_BUILT, 503, {"Cache-Control": "no-store"}, "text/plain")
        nonce = secrets.token_urlsafe(16)
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": content_security_policy(nonce)}
        return Response(index.content.replace(NONCE_MARK, nonce.encode()), status, headers, "text/html")


def is_page(path: str) -> bool:
    """True for the paths of the dashboard's pages."""
    return path == "/" or (path.startswith("/") and path.split("/", 2)[1] in PAGES)


def is_public(path: str) -> bool:
    """True for what is served without a key: the dashboard's pages, and files that are the same for everybody."""
    return is_page(path) or path.startswith(ASSETS) or path == "/favicon.svg"


def content_security_policy(nonce: str) -> str:
    """Scripts only from the bundle; style sheets also from the editor, which makes some as it runs and knows the nonce.

    Attributes may hold styles: browsers set them themselves when someone types over a selection in the editor.
    """
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; "
        "style-src-attr 'unsafe-inline'; font-src 'self'; "
        "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _read(bundle: Path) -> Iterator[tuple[str, _File]]:
    for path in sorted(bundle.rglob("*")):
        # What begins with a dot is the build's own.
        hidden = path.relative_to(bundle).as_posix().startswith(".")
        if path.is_file() and path.suffix != ".gz" and not hidden:
            packed = path.with_name(path.name + ".gz")
            compressed = packed.read_bytes() if packed.is_file() else None
            media_type = guess_type(path.name)[0] or "application/octet-stream"
            yield f"/{path.relative_to(bundle).as_posix()}", _File(path.read_bytes(), compressed, media_type)


def _asset(found: _File, path: str, headers: Mapping[str, str]) -> Response:
    # A file below /assets/ has its content's digest in its name, so a name never means anything else.
    lasting = "public, max-age=31536000, immutable" if path.startswith(ASSETS) else "no-cache"
    sent = {"Cache-Control": lasting, "Vary": "Accept-Encoding"}
    if found.compressed is not None and "gzip" in headers.get("accept-encoding", ""):
        return Response(found.compressed, 200, sent | {"Content-Encoding": "gzip"}, found.media_type)
    return Response(found.content, 200, sent, found.media_type)
