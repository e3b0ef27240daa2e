"""Images made layer by layer and pushed to a registry, and a registry that misbehaves."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.registry import PROGRAM as REGISTRY
from tests.helpers.registry import Registry

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


OCI_TOOLS = ("skopeo", "umoci", "bwrap")


def can_fetch_images() -> bool:
    """True if there is a registry to fetch images from here, and what fetches and unpacks them."""
    return all(shutil.which(program) for program in (*OCI_TOOLS, REGISTRY))


def need_oci_tools() -> None:
    """Skip the test where images cannot be fetched and unpacked."""
    for program in OCI_TOOLS:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@dataclass
class Entry:
    """One entry of a layer's tar."""

    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)


def make_layer(entries: Sequence[Entry]) -> bytes:
    """A tar, not compressed, with these entries exactly as they are, sane or not."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.size, info.mode, info.type, info.linkname = len(entry.data), entry.mode, entry.kind, entry.link
            info.uid, info.gid = entry.uid, entry.gid
            info.devmajor, info.devminor = entry.device
            archive.addfile(info, io.BytesIO(entry.data))
    return buffer.getvalue()


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class MadeImage:
    """An image in memory: its blobs by digest, and its manifest."""

    manifest: bytes
    blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    def write_layout(self, folder: Path) -> str:
        """Write it as an OCI layout, and return how skopeo names it."""
        blobs = folder / "blobs/sha256"
        blobs.mkdir(parents=True)
        for digest, data in {**self.blobs, self.digest: self.manifest}.items():
            (blobs / digest.removeprefix("sha256:")).write_bytes(data)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        top = {"mediaType": MANIFEST_TYPE, "digest": self.digest, "size": len(self.manifest)}
        top["annotations"] = {"org.opencontainers.image.ref.name": "made"}
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
        return f"oci:{folder}:made"


def make_image(*layers: bytes, architecture: str = "amd64", **settings: Any) -> MadeImage:
    """An image with these layers; `settings` are those of its configuration, such as `Cmd`."""
    packed = [gzip.compress(layer, compresslevel=1, mtime=0) for layer in layers]
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
            "history": [{"created_by": "test"} for _ in layers],
        }
    ).encode()

    def blob(data: bytes, kind: str) -> dict[str, object]:
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest_of(data), "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": blob(config, "config.v1+json"),
        "layers": [blob(data, "layer.v1.tar+gzip") for data in packed],
    }
    return MadeImage(json.dumps(manifest).encode(), {digest_of(data): data for data in (config, *packed)})


def push(registry: Registry, image: MadeImage, name: str, folder: Path, *, credentials: str | None = None) -> str:
    """Push an image, by way of a layout in `folder`, and return its reference."""
    reference = f"{registry.host}/{name}"
    who = ["--dest-creds", credentials] if credentials else []
    source = image.write_layout(folder)
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", *who]
    subprocess.run([*command, source, f"docker://{reference}"], check=True, capture_output=True, timeout=60)
    return reference


def push_index(registry: Registry, images: dict[str, MadeImage], name: str, tag: str) -> str:
    """Put a list of images for several architectures, already pushed to this repository, under a tag."""
    manifests = [
        {
            "mediaType": MANIFEST_TYPE,
            "digest": image.digest,
            "size": len(image.manifest),
            "platform": {"architecture": architecture, "os": "linux"},
        }
        for architecture, image in images.items()
    ]
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}).encode()
    connection = http.client.HTTPConnection(registry.host, timeout=10)
    connection.request("PUT", f"/v2/{name}/manifests/{tag}", body, {"Content-Type": INDEX_TYPE})
    assert connection.getresponse().status == 201
    connection.close()
    return f"{registry.host}/{name}:{tag}"


Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def odd_registry(answer: Callable[[str], Answer]) -> Iterator[tuple[str, list[str]]]:
    """A registry that answers as it is told, path by path; yields its address and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, headers, body = answer(self.path)
            with suppress(OSError):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name http.server asks for

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()
