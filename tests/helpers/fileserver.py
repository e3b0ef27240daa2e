"""A web server on the loopback address that serves bytes and can be told to do it badly."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


@dataclass
class FileServer:
    """What it serves, and what it was asked for."""

    port: int
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Answer]] = field(default_factory=dict)
    """By path: what to do instead, each once, in this order."""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and headers (lower case) of every request."""

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def serve(self, path: str, content: bytes, *faults: Answer) -> str:
        """Have `content` at `path` after all `faults`; its address."""
        self.files[path] = content
        self.faults[path] = list(faults)
        return self.url + path

    def asked(self, path: str) -> list[dict[str, str]]:
        """Headers of the requests for a path."""
        return [headers for _, asked, headers in self.requests if asked == path]

    def counts(self) -> Counter[str]:
        """How often each path was asked for."""
        return Counter(path for _, path, _ in self.requests)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    state: FileServer

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.state.requests.append((self.command, self.path, headers))
        faults = self.state.faults.get(self.path, [])
        with suppress(ConnectionError):
            if faults:
                faults.pop(0)(self)
            elif self.path in self.state.files:
                self.content(self.state.files[self.path])
            else:
                self.head(404, {"Content-Length": "0"})

    do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

    def content(self, content: bytes, ranges: bool = True) -> None:
        """Answer with `content`, or the part of it that was asked for."""
        start = 0
        if ranges and (wanted := self.headers.get("Range", "")).startswith("bytes="):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
        if start >= len(content) > 0:
            self.head(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(content)}"})
            return
        headers = {"Content-Length": str(len(content) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.head(206 if start else 200, headers)
        if self.command == "GET":
            self.wfile.write(content[start:])

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Send a status and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def status(code: int, **headers: str) -> Answer:
    """Answer with a status and no body; `retry_after="1"` becomes a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.head(code, {"Content-Length": "0", **named})


def redirect(location: str) -> Answer:
    """Send the client elsewhere."""
    return status(302, location=location)


def instead(content: bytes) -> Answer:
    """Answer with other bytes."""
    return lambda handler: handler.content(content)


def without_ranges(handler: Handler) -> None:
    """Answer with everything, whatever part was asked for."""
    handler.content(handler.state.files[handler.path], ranges=False)


def cut_off(after: int) -> Answer:
    """Promise everything and hang up after some bytes."""

    def answer(handler: Handler) -> None:
        content = handler.state.files[handler.path]
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        headers = {"Content-Length": str(len(content) - start), "Connection": "close"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.head(206 if start else 200, headers)
        handler.wfile.write(content[start : start + after])
        handler.close_connection = True

    return answer


def endless(handler: Handler) -> None:
    """Send bytes without saying how many until the client hangs up."""
    handler.head(200, {"Connection": "close"})
    handler.close_connection = True
    while True:
        handler.wfile.write(b"x" * 65536)


def trickle(pieces: int, pause_s: float) -> Answer:
    """Send everything in a few pieces with pauses between them."""

    def answer(handler: Handler) -> None:
        content = handler.state.files[handler.path]
        handler.head(200, {"Content-Length": str(len(content))})
        step = -(-len(content) // pieces)
        for start in range(0, len(content), step):
            handler.wfile.write(content[start : start + step])
            time.sleep(pause_s)

    return answer


def hang_up(handler: Handler) -> None:
    """Close the connection without a word."""
    handler.close_connection = True


@contextmanager
def running_file_server() -> Iterator[FileServer]:
    """The server, until the context is left."""
    kind = type("BoundHandler", (Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        state = FileServer(server.server_port)
        kind.state = state  # type: ignore[attr-defined]  # made a moment ago
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
