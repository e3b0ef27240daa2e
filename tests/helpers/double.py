"""A real HTTP server on a free port whose answers a test writes down; for what a healthy Caisson never does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent. With `cut` the connection breaks behind the last chunk, before the answer's proper end."""

    status: int = 200
    body: Iterable[bytes] = ()
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


def json_reply(value: object, status: int = 200, **headers: str) -> Reply:
    """An answer of JSON; `Retry_After="1"` becomes `Retry-After: 1`."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, [json.dumps(value).encode()], {"Content-Type": "application/json"} | named)


@dataclass(slots=True)
class Double:
    """A running double: where it listens, and what it was asked so far."""

    url: str
    requests: list[Request]


@contextmanager
def answering(answer: Callable[[Request], Reply]) -> Iterator[Double]:
    """Answers every request with what `answer` makes of it."""
    requests: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, self.rfile.read(length))
            requests.append(request)
            reply = answer(request)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in reply.body:
                if chunk:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    self.wfile.flush()
            if reply.cut:
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_DELETE = handle_one  # noqa: N815  # the names that http.server calls

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is what some tests want."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Double(f"http://127.0.0.1:{server.server_port}", requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
