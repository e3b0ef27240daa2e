"""A real OCI registry on the loopback address: Debian's docker-registry."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.server import free_port

PROGRAM = "docker-registry"
USER, PASSWORD = "user", "secret"
PASSWORD_LINE = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
"""A htpasswd line for them."""
START_TIMEOUT_S = 15
CONFIG = """\
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: "%(root)s"}, delete: {enabled: true}}
http: {addr: "127.0.0.1:%(port)d", secret: tests}
"""


@dataclass(frozen=True)
class Registry:
    """Where it listens and what it keeps."""

    port: int
    root: Path

    @property
    def host(self) -> str:
        """`HOST:PORT`."""
        return f"127.0.0.1:{self.port}"


@contextmanager
def running_registry(folder: Path, *, password_file: str | None = None) -> Iterator[Registry]:
    """A registry that keeps everything in `folder`; with the text of a htpasswd file, only for those in it."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not installed")
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIG % {"root": folder / "data", "port": port}
    if password_file is not None:
        (folder / "htpasswd").write_text(password_file)
        config += f'auth: {{htpasswd: {{realm: tests, path: "{folder / "htpasswd"}"}}}}\n'
    (folder / "config.yml").write_text(config)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the registry does not start"
            time.sleep(0.02)
        yield Registry(port, folder / "data")
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
