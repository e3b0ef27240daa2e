"""Images in an OCI registry, as artifacts after the distribution specification 1.1.

An image is an OCI manifest whose config is Caisson's own, and whose layers are the files which that lists, and the
signature. It is tagged `VERSION-ARCH`, and `ARCH` for the newest.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import httpx2
import msgspec
from msgspec import Meta, Struct

from caisson.images.catalog import Image
from caisson.images.credentials import answer
from caisson.images.download import Pinned, download
from caisson.images.errors import DownloadFailed, ImageError
from caisson.images.http import NotThere, Passing, WantsCredentials, opened, retrying
from caisson.images.manifest import MAX_MANIFEST_BYTES, Manifest
from caisson.images.offers import Offer
from caisson.images.progress import Progress, Report
from caisson.images.signing import MAX_SIGNATURE_BYTES, SIGNATURE

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.caisson.image.v1"
CONFIG_TYPE = "application/vnd.caisson.image.manifest.v1+json"
FILE_TYPE = "application/vnd.caisson.image.file.v1"
SIGNATURE_TYPE = "application/vnd.caisson.image.signature.v1+json"
TITLE = "org.opencontainers.image.title"
CHUNK_BYTES = 8 << 20
MAX_OCI_BYTES = 1 << 20
_ADDRESS = re.compile(r"oci://([A-Za-z0-9.-]+(?::\d+)?|\[[0-9a-f:]+\](?::\d+)?)((?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)/?")
_DONE = re.compile(r"(?:bytes=)?0-(\d+)")

Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]


class Descriptor(Struct, frozen=True, rename="camel", omit_defaults=True):
    """How OCI names a blob. Members that are not known here are ignored, as it asks for."""

    media_type: str
    digest: Digest
    size: Annotated[int, Meta(ge=0)]
    annotations: dict[str, str] = {}


class OciManifest(Struct, frozen=True, rename="camel", omit_defaults=True):
    """An OCI image manifest, as far as an artifact needs one."""

    config: Descriptor
    layers: Annotated[tuple[Descriptor, ...], Meta(max_length=256)]
    artifact_type: str = ""
    media_type: str = ""
    annotations: dict[str, str] = {}
    schema_version: int = 0


class RegistryPlace:
    """A registry, or a part of one, that has a repository for each image. A `Source` and a `Target`."""

    def __init__(self, client: httpx2.AsyncClient, address: str) -> None:
        """Raises ImageError if the address is not `oci://HOST[:PORT][/PATH]`."""
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise ImageError(f"{address} is no registry; one is written oci://HOST[:PORT][/PATH]")
        self._host, self._prefix = found[1], found[2].strip("/")
        name = httpx2.URL(f"https://{self._host}").host
        # As docker does it: what never leaves this machine needs no encryption.
        self._base = f"{'http' if name in ('localhost', '127.0.0.1', '::1') else 'https'}://{self._host}/v2/"
        self._client = client
        self._authorization: dict[str, str] = {}

    async def offer(self, name: str, arch: str, version: str | None) -> Offer:
        """See `Source`."""
        tag = f"{version}-{arch}" if version else arch
        repository = self._repository(name)
        text = await self._small(repository, f"manifests/{tag}", MAX_OCI_BYTES, {"Accept": MANIFEST_TYPE})
        try:
            found = msgspec.json.decode(text, type=OciManifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DownloadFailed(f"{self._host}/{repository}:{tag} is no image of Caisson: {error}") from error
        if found.artifact_type != ARTIFACT_TYPE or found.config.media_type != CONFIG_TYPE:
            raise DownloadFailed(f"{self._host}/{repository}:{tag} is no image of Caisson")
        manifest = await self._small_blob(repository, found.config, MAX_MANIFEST_BYTES)
        signature = next((layer for layer in found.layers if layer.media_type == SIGNATURE_TYPE), None)
        if signature is None:
            return Offer(manifest, None)
        return Offer(manifest, await self._small_blob(repository, signature, MAX_SIGNATURE_BYTES))

    async def fetch(self, manifest: Manifest, file: str, target: Path, report: Report) -> None:
        """See `Source`."""
        record, repository = manifest.files[file], self._repository(manifest.name)
        url = self._url(repository, f"blobs/sha256:{record.sha256}")
        # A look first: it brings the token that the download goes with.
        async with self._opened(repository, "HEAD", url):
            pass
        headers = self._headers(repository)
        pinned = Pinned(url, record.sha256, max_bytes=record.size, size=record.size, headers=headers)
        await download(pinned, target, name=manifest.name, label=file, report=report, client=self._client)

    async def put(self, image: Image, signature: bytes | None, report: Report) -> str:
        """See `Target`."""
        repository = self._repository(image.name)
        layers = []
        for file, record in image.manifest.files.items():
            digest = f"sha256:{record.sha256}"
            await self._put_file(repository, digest, image.folder / file, image.name, report)
            layers.append(Descriptor(FILE_TYPE, digest, record.size, {TITLE: file}))
        if signature is not None:
            layers.append(await self._put_bytes(repository, signature, SIGNATURE_TYPE, SIGNATURE))
        config = await self._put_bytes(repository, image.manifest.encode(), CONFIG_TYPE, "")
        whole = OciManifest(
            config=config,
            layers=tuple(layers),
            artifact_type=ARTIFACT_TYPE,
            media_type=MANIFEST_TYPE,
            annotations={
                TITLE: image.name,
                "org.opencontainers.image.version": image.version,
                "org.opencontainers.image.description": image.manifest.summary,
            },
            schema_version=2,
        )
        text = msgspec.json.encode(whole, order="deterministic")
        report(Progress(image.name, "tagging"))
        for tag in (f"{image.version}-{image.arch}", image.arch):
            url = self._url(repository, f"manifests/{tag}")
            async for attempt in retrying():
                with attempt:
                    async with self._opened(
                        repository, "PUT", url, content=text, headers={"Content-Type": MANIFEST_TYPE}, expected={201}
                    ):
                        pass
        return f"oci://{self._host}/{repository}:{image.version}-{image.arch}"

    def _repository(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _url(self, repository: str, rest: str) -> str:
        return f"{self._base}{repository}/{rest}"

    def _headers(self, repository: str) -> dict[str, str]:
        known = self._authorization.get(repository)
        return {"Authorization": known} if known else {}

    @asynccontextmanager
    async def _opened(
        self,
        repository: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        expected: set[int] | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        """As `http.opened`, with a token where one is asked for."""
        wanted = frozenset(expected or {200})
        actions = "pull" if method in ("GET", "HEAD") else "pull,push"
        for first in (True, False):
            sent = {**(headers or {}), **self._headers(repository)}
            try:
                async with opened(
                    self._client, method, url, headers=sent, content=content, expected=wanted
                ) as response:
                    yield response
                    return
            except WantsCredentials as error:
                if not first or error.challenge is None:
                    raise
                challenge = error.challenge
            self._authorization[repository] = await answer(self._client, challenge, self._host, repository, actions)

    async def _small(self, repository: str, rest: str, most: int, headers: Mapping[str, str]) -> bytes:
        url = self._url(repository, rest)
        async for attempt in retrying():
            with attempt:
                async with self._opened(repository, "GET", url, headers=headers) as response:
                    content = bytearray()
                    async for piece in response.aiter_raw():
                        content += piece
                        if len(content) > most:
                            raise DownloadFailed(f"{url} is larger than {most} bytes")
                    return bytes(content)
        raise AssertionError("unreachable: the last attempt raises")

    async def _small_blob(self, repository: str, blob: Descriptor, most: int) -> bytes:
        content = await self._small(repository, f"blobs/{blob.digest}", min(blob.size, most), {})
        if "sha256:" + hashlib.sha256(content).hexdigest() != blob.digest:
            raise DownloadFailed(f"{self._host}/{repository} holds other bytes than {blob.digest}")
        return content

    async def _put_bytes(self, repository: str, content: bytes, kind: str, title: str) -> Descriptor:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        async for attempt in retrying():
            with attempt:
                if not await self._has(repository, digest):
                    location = await self._begin(repository)
                    await self._finish(repository, location, digest, content)
        return Descriptor(kind, digest, len(content), {TITLE: title} if title else {})

    async def _put_file(self, repository: str, digest: str, path: Path, name: str, report: Report) -> None:
        """Upload a file in pieces; one that fails is sent again from where the registry says it has come to."""
        step, location, offset = f"uploading {path.name}", "", 0
        with path.open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            async for attempt in retrying():
                with attempt:
                    if not location:
                        if await self._has(repository, digest):
                            report(Progress(name, f"{path.name} is there already"))
                            return
                        location, offset = await self._begin(repository), 0
                    elif offset:
                        location, offset = await self._where(repository, location)
                    while offset < total:
                        piece = await asyncio.to_thread(os.pread, file.fileno(), CHUNK_BYTES, offset)
                        headers = {
                            "Content-Type": "application/octet-stream",
                            "Content-Range": f"{offset}-{offset + len(piece) - 1}",
                        }
                        async with self._opened(
                            repository, "PATCH", location, headers=headers, content=piece, expected={202}
                        ) as response:
                            location = self._following(location, response)
                        offset += len(piece)
                        report(Progress(name, step, offset, total))
                    await self._finish(repository, location, digest, b"")

    async def _has(self, repository: str, digest: str) -> bool:
        try:
            async with self._opened(repository, "HEAD", self._url(repository, f"blobs/{digest}")):
                return True
        except NotThere:
            return False

    async def _begin(self, repository: str) -> str:
        url = self._url(repository, "blobs/uploads/")
        async with self._opened(
            repository, "POST", url, headers={"Content-Length": "0"}, content=b"", expected={202}
        ) as response:
            return self._following(url, response)

    async def _where(self, repository: str, location: str) -> tuple[str, int]:
        """How far an upload has come; begun anew where the registry has forgotten it."""
        try:
            async with self._opened(repository, "GET", location, expected={204}) as response:
                found = _DONE.fullmatch(response.headers.get("range", ""))
                # A registry that has nothing yet cannot say so otherwise than by 0-0.
                offset = int(found[1]) + 1 if found and found[1] != "0" else 0
                return self._following(location, response), offset
        except Passing:
            raise
        except DownloadFailed:
            return await self._begin(repository), 0

    async def _finish(self, repository: str, location: str, digest: str, content: bytes) -> None:
        url = str(httpx2.URL(location).copy_merge_params({"digest": digest}))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(content))}
        async with self._opened(repository, "PUT", url, headers=headers, content=content, expected={201}):
            pass

    def _following(self, url: str, response: httpx2.Response) -> str:
        """Where the registry wants what comes next, which must be in the registry: our token goes there."""
        following = httpx2.URL(url).join(response.headers.get("location", ""))
        if following.netloc != httpx2.URL(self._base).netloc:
            raise DownloadFailed(f"{self._host} wants the upload to go to {following.host}, which is not done")
        return str(following)
