"""What is too large, cut off or slow is dealt with on the wire, in bounded memory."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.helpers.server import Server, wait_until

MIB = 1 << 20
HEAD = "POST /v1/workloads HTTP/1.1\r\nHost: localhost\r\n"
FORM = "Content-Type: multipart/form-data; boundary=x\r\n"
PART = b'--x\r\nContent-Disposition: form-data; name="archive"\r\n\r\n'


@pytest.fixture
def connection(server: Server) -> Iterator[socket.socket]:
    """A bare connection to the server."""
    address = urlsplit(server.url)
    with closing(socket.create_connection((address.hostname, address.port), timeout=20)) as connection:
        yield connection


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def uploads(server: Server) -> list[Path]:
    return list((server.data_dir / "uploads").iterdir())


def peak_mib(server: Server) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


@pytest.mark.parametrize(
    ("content_type", "length"),
    [("Content-Type: application/json\r\n", 15 * MIB + 1), (FORM, 120 * MIB), (FORM, 10**12), (FORM, 10**40)],
)
def test_what_says_it_is_too_large_is_refused_before_it_is_sent(
    connection: socket.socket, content_type: str, length: int
) -> None:
    connection.sendall(f"{HEAD}{content_type}Content-Length: {length}\r\n\r\n".encode())
    connection.shutdown(socket.SHUT_WR)
    answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 4")
    assert b'"reason":"too_large"' in answer or length > 10**18
    assert b"\r\nconnection: close\r\n" in answer.lower()


def test_who_asks_before_sending_is_not_told_to_go_on(connection: socket.socket) -> None:
    headers = f"Content-Type: application/json\r\nContent-Length: {16 * MIB}\r\nExpect: 100-continue\r\n\r\n"
    connection.sendall((HEAD + headers).encode())
    connection.shutdown(socket.SHUT_WR)
    answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_that_turns_out_too_large_is_refused_and_the_sender_can_read_why(http: httpx2.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(24):
            yield b" " * MIB

    answer = http.post("/v1/workloads", content=endless(), headers={"Content-Type": "application/json"})
    problem = answer.json()
    assert (answer.status_code, problem["reason"], problem["member"]) == (413, "too_large", "body")


def test_an_archive_over_the_limit_is_refused_without_being_kept_in_memory_or_on_disk(
    http: httpx2.Client, server: Server
) -> None:
    def form() -> Iterator[bytes]:
        yield PART
        for _ in range(108):
            yield b"z" * MIB

    http.get("/v1/stats")
    before = peak_mib(server)
    answer = http.post("/v1/workloads", content=form(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert (answer.status_code, answer.json()["member"]) == (413, "archive")
    assert peak_mib(server) - before < 40
    assert not uploads(server)


def test_a_sender_that_leaves_in_mid_upload_leaves_no_file(connection: socket.socket, server: Server) -> None:
    connection.sendall(f"{HEAD}{FORM}Content-Length: {20 * MIB}\r\n\r\n".encode() + PART + b"z" * (3 * MIB))
    wait_until(lambda: bool(uploads(server)), "the upload to begin", 10)
    connection.close()
    wait_until(lambda: not uploads(server), "the file to be removed", 10)


def test_a_connection_serves_on_after_refusals(connection: socket.socket) -> None:
    for path, status in ((b"/nowhere", b"404"), (b"/v1/workloads?limit=0", b"422"), (b"/healthz", b"200")):
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while b"}" not in answer:
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (b"nonsense\r\n\r\n", 400, "malformed"),
        (HEAD.encode() + b"Content-Length: x\r\n\r\n", 400, "malformed"),
        (HEAD.encode() + b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n", 431, "head_too_large"),
    ],
    ids=["no request", "length", "large"],
)
def test_what_is_no_request_is_answered_with_a_problem_and_counted(
    connection: socket.socket, http: httpx2.Client, sent: bytes, status: int, reason: str
) -> None:
    connection.sendall(sent)
    head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"content-type: application/problem+json" in head.lower()
    assert (json.loads(body)["status"], json.loads(body)["reason"]) == (status, reason)
    assert f'caisson_requests_refused_total{{reason="{reason}"}}' in http.get("/metrics").text


@pytest.mark.parametrize(
    "host", ["", "Host: evil.example\r\n", "Host: localhost\r\nHost: localhost\r\n", "Host: a b\r\n"]
)
def test_a_host_that_is_not_this_machine_is_refused(connection: socket.socket, host: str) -> None:
    connection.sendall(f"GET /v1/workloads HTTP/1.1\r\n{host}Connection: close\r\n\r\n".encode())
    answer = read_to_end(connection)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 "))
    assert b"application/problem+json" in answer
