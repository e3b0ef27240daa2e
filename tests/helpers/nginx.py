"""A real nginx before a server, configured as the guide says."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.server import free_port, wait_until

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/install-service.md"
NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")


def guide_location(server_url: str) -> str:
    """The guide's `location` block, for the server at `server_url`."""
    block = re.search(r"```nginx\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert block is not None, f"{GUIDE} shows no nginx configuration"
    return block[1].replace("http://127.0.0.1:8080", server_url)


@contextmanager
def proxied(server_url: str, folder: Path) -> Iterator[str]:
    """The address of an nginx that stands before the server at `server_url`; it writes to `folder` only."""
    assert NGINX is not None
    port = free_port()
    places = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Started by root, nginx would give its work to `nobody`, who may not enter a test's folder.
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"""
        {user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
        events {{ worker_connections 256; }}
        http {{
            access_log off;
            {places}
            server {{ listen 127.0.0.1:{port}; {guide_location(server_url)} }}
        }}
        """
    )
    nginx = subprocess.Popen([NGINX, "-p", folder, "-e", folder / "error.log", "-c", configuration])
    try:
        wait_until(lambda: nginx.poll() is not None or listens(port), "nginx to listen", 10)
        assert nginx.poll() is None, (folder / "error.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        nginx.terminate()
        nginx.wait(10)


def listens(port: int) -> bool:
    """True if something accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
