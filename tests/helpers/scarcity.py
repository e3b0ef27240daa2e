"""Has a server, or this process, run out of what every process needs, for as long as a context lasts."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.helpers.server import Server

LEFT = 6
"""Descriptors that are left for requests, and for what they need."""
FILL_EVERY_S = 0.002


def held() -> set[int]:
    """Descriptors of this process, but that of the listing itself."""
    return {int(entry.name) for entry in list(Path("/proc/self/fd").iterdir()) if entry.exists()}


@contextmanager
def only(free: int) -> Iterator[None]:
    """So many more descriptors are to be had meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = held()
    limit = [number for number in range(max(taken) + free + 2) if number not in taken][free]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def few_descriptors(server: Server) -> Iterator[None]:
    """The server has as many as it has now and a few more; all but `LEFT` of these are used up by idle connections."""
    pid, address = server.process.pid, server.url.removeprefix("http://").split(":")
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    with ExitStack() as undo:
        undo.callback(resource.prlimit, pid, resource.RLIMIT_NOFILE, before)
        idle: list[socket.socket] = []
        while True:
            idle.append(undo.enter_context(socket.create_connection((address[0], int(address[1])), timeout=30)))
            idle[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status = idle[-1].recv(4096).split()[1]
            if status == b"503":
                break
            assert status == b"200"
        for connection in idle[-LEFT - 1 :]:
            connection.close()
        yield


@contextmanager
def held_to_its_processes(pid: int) -> Iterator[Callable[[], None]]:
    """A control group with the server in it; the function has it hold no more threads than there are."""
    mount = Path("/sys/fs/cgroup/pids")
    if os.geteuid() != 0 or not (mount / "cgroup.procs").exists():
        pytest.skip("needs root and the pids controller of cgroup v1")
    group = mount / f"caisson-test-{pid}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))

        def hold() -> None:
            (group / "pids.max").write_text((group / "pids.current").read_text())

        yield hold
        (group / "pids.max").write_text("max")
    finally:
        for each in (group / "cgroup.procs").read_text().split():
            (mount / "cgroup.procs").write_text(each)
        group.rmdir()


@contextmanager
def no_processes(server: Server) -> Iterator[None]:
    """The server can make no process and no thread."""
    with held_to_its_processes(server.process.pid) as hold:
        hold()
        yield


@contextmanager
def small_file_system(folder: Path, options: str) -> Iterator[None]:
    """A file system of its own at `folder`."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "caisson-test", folder], check=True)
    try:
        yield
    finally:
        # A server that a failing test has not stopped yet still uses it.
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def no_inodes(server: Server) -> Iterator[None]:
    """Whatever inode becomes free in the server's data folder is taken."""
    folder = server.data_dir / "fillers"
    folder.mkdir()

    def take() -> None:
        while True:
            (folder / str(len(list(folder.iterdir())))).touch()

    with _again_and_again(take):
        yield
    for filler in folder.iterdir():
        filler.unlink()
    folder.rmdir()


@contextmanager
def no_space(server: Server) -> Iterator[None]:
    """Whatever block becomes free in the server's data folder is taken."""
    ballast = server.data_dir / "ballast"

    def take() -> None:
        with ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    with _again_and_again(take):
        yield
    ballast.unlink()


@contextmanager
def _again_and_again(take: Callable[[], None]) -> Iterator[None]:
    """Call what takes until there is no more, from before the context begins until it ends."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(FILL_EVERY_S):
            with suppress(OSError):
                take()

    with suppress(OSError):
        take()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
