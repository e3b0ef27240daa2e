"""What skopeo does for us: read a manifest, copy an image into a layout on disk, and what its complaints mean."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from caisson.host.process import SAFE_ENV, CommandFailed, Completed, run
from caisson.images.oci.errors import NoSuchImage, OciError, RegistryTrouble
from caisson.images.oci.reference import Reference

TAG = "image"
"""What an image is called in the layout it is copied into."""
MAX_MANIFEST_BYTES = 4 << 20
MAX_LAYERS = 256
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LISTS = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_IMAGES = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
}
_PASSED_ON = frozenset(
    {
        *("HOME", "XDG_RUNTIME_DIR", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    }
)
"""Variables of the server's that say where credentials, certificates and proxies are."""
_POLICY = Path("/etc/containers/policy.json")

Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]


class _Platform(Struct):
    architecture: str = ""
    os: str = ""
    variant: str = ""


class _Blob(Struct, rename="camel"):
    digest: Digest
    size: Annotated[int, Meta(ge=0)]
    platform: _Platform | None = None


class _Document(Struct, rename="camel"):
    media_type: str = ""
    manifests: Annotated[list[_Blob], Meta(max_length=10_000)] | None = None
    config: _Blob | None = None
    layers: Annotated[list[_Blob], Meta(max_length=MAX_LAYERS)] | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """An image as a registry has it for this machine."""

    digest: str
    """Of its manifest: it stands for all of its content."""
    asked_digest: str
    """Of what the tag names: the same, or that of the list of manifests in which it was found."""
    compressed_bytes: int


@dataclass(frozen=True, slots=True)
class Access:
    """How registries are talked to."""

    auth_file: Path | None = None
    insecure: frozenset[str] = frozenset()
    """Hosts, with their ports, that need not speak TLS or need not have a certificate."""
    timeout_s: float = 300


def architecture() -> str:
    """This machine's architecture, as images name it."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


async def look(reference: Reference, access: Access) -> Offer:
    """What the registry has under this name for this machine. Raises OciError."""
    text = await _raw(reference, access)
    digest = "sha256:" + hashlib.sha256(text).hexdigest()
    if reference.digest not in (None, digest):
        raise RegistryTrouble(f"{reference.name} sent other bytes than {reference.digest}")
    document = _read(text, reference)
    if document.manifests is None:
        return Offer(digest, digest, _size(document, reference))
    chosen = _for_this_machine(document.manifests, reference)
    exact = Reference(reference.host, reference.repository, reference.tag, chosen.digest)
    inner = await _raw(exact, access)
    if "sha256:" + hashlib.sha256(inner).hexdigest() != chosen.digest:
        raise RegistryTrouble(f"{reference.name} sent other bytes than {chosen.digest}")
    return Offer(chosen.digest, digest, _size(_read(inner, exact), exact))


async def copy(reference: Reference, layout: Path, blobs: Path, access: Access, max_bytes: int) -> None:
    """Copy an image, given by digest, into a new layout; blobs that are there already are not fetched again.

    Raises OciError. No single blob may be larger than `max_bytes`.
    """
    # A registry may send more than it promised; the kernel stops that at each file.
    limit = ["prlimit", f"--fsize={max_bytes}", "--"]
    target = ["--dest-shared-blob-dir", str(blobs), f"oci:{layout}:{TAG}"]
    source = _source(reference, access, "--src-tls-verify", "--src-authfile")
    command = [*limit, *_skopeo(access), "copy", "--quiet", *source]
    await _run([*command, f"docker://{reference}", *target], reference, access)


async def _raw(reference: Reference, access: Access) -> bytes:
    options = _source(reference, access, "--tls-verify", "--authfile")
    command = [*_skopeo(access), "inspect", "--raw", *options, f"docker://{reference}"]
    done = await _run(command, reference, access)
    if len(done.stdout) > MAX_MANIFEST_BYTES:
        raise NoSuchImage(f"the manifest of {reference} is larger than {MAX_MANIFEST_BYTES >> 20} MiB")
    return done.stdout


def _skopeo(access: Access) -> list[str]:
    policy = [] if _POLICY.exists() else ["--insecure-policy"]
    timeout = f"--command-timeout={access.timeout_s:g}s"
    # It waits by itself when a registry wants it to, some five times, and says so only here.
    return ["skopeo", "--debug", *policy, timeout, "--override-os=linux", f"--override-arch={architecture()}"]


def _source(reference: Reference, access: Access, tls: str, auth: str) -> list[str]:
    options = [f"{tls}=false"] if reference.host in access.insecure else []
    return options + ([f"{auth}={access.auth_file}"] if access.auth_file else [])


async def _run(command: list[str], reference: Reference, access: Access) -> Completed:
    env = {**SAFE_ENV, **{name: text for name, text in os.environ.items() if name in _PASSED_ON}}
    try:
        done = await run(
            command, env=env, timeout_s=access.timeout_s + 5, max_output_bytes=MAX_MANIFEST_BYTES + 1, check=False
        )
    except CommandFailed as error:
        if "could not be started" in error.message:
            raise RegistryTrouble("skopeo is not installed: apt-get install skopeo", detail=error.detail) from error
        raise RegistryTrouble(
            f"{_place(reference)} was too slow: {access.timeout_s:g} s were not enough", detail=error.detail
        ) from error
    if done.code != 0:
        raise explain(done.stderr.decode("utf-8", "replace"), reference, access)
    return done


_ALLOW = "; if it is to be used all the same, name it in CAISSON_OCI_INSECURE_REGISTRIES"
_MEANINGS: tuple[tuple[str, type[OciError], str], ...] = (
    (r"unauthorized|authentication required|\b401\b", NoSuchImage, "{place} lets nobody in without the right password"),
    (r"denied|forbidden|\b403\b", NoSuchImage, "{place} does not give {image} to this server"),
    (r"manifest unknown|name unknown|not found|\b404\b", NoSuchImage, "there is no image {image}"),
    (r"toomanyrequests|too many requests|\b429\b", RegistryTrouble, "{place} wants fewer requests, later"),
    (r"no space left|disk quota", RegistryTrouble, "there is no room for {image} on this server's disk"),
    (r"file too large", NoSuchImage, "{image} is larger than it said, or than is allowed"),
    (r"did not match|does not match|unexpected digest", RegistryTrouble, "{place} sent other bytes than it promised"),
    (r"context deadline exceeded|timed? ?out", RegistryTrouble, "{place} was too slow: {timeout:g} s were not enough"),
    (r"redirect", RegistryTrouble, "{place} sends from one address to the next without end"),
    (r"http response to https", RegistryTrouble, "{place} does not speak TLS" + _ALLOW),
    (r"x509|certificate|tls:", RegistryTrouble, "{place} cannot be trusted" + _ALLOW + ": {words}"),
    (r"connection refused|no such host|unreachable|EOF|reset by peer|server misbehaving|dial tcp", RegistryTrouble,
     "{place} cannot be reached"),
    (r"unsupported|schema ?1", NoSuchImage, "{image} has a form that is not supported"),
)  # fmt: skip


def explain(stderr: str, reference: Reference, access: Access) -> OciError:
    """The error that skopeo's words stand for."""
    words = _words(stderr)
    waited = re.search(r"too many requests to \S+ sleeping", stderr, re.IGNORECASE)
    if waited and re.search(r"deadline exceeded", words):
        words = f"toomanyrequests, {words}"
    for pattern, kind, text in _MEANINGS:
        if re.search(pattern, words, re.IGNORECASE):
            message = text.format(
                place=_place(reference), image=reference, timeout=access.timeout_s, words=words[-300:]
            )
            if kind is RegistryTrouble:
                found = re.findall(r"retry[- ]after\W*(?:header)?\W*(\d{1,5})", stderr, re.IGNORECASE)
                wanted_s = int(found[-1]) if found and "toomanyrequests" in words else None
                message += "" if wanted_s is None else f" ({wanted_s} s)"
                return RegistryTrouble(message, retry_after_s=wanted_s, detail=words)
            return kind(message, detail=words)
    return RegistryTrouble(f"{reference} could not be fetched: {words[-300:]}", detail=words)


def _words(stderr: str) -> str:
    """The message in skopeo's last log line, without its decoration."""
    found = re.findall(r'level=fatal msg="((?:[^"\\]|\\.)*)"', stderr)
    return (found[-1].replace('\\"', '"') if found else stderr).strip() or "it said nothing"


def _place(reference: Reference) -> str:
    return f"the registry {reference.host}" if reference.host else "the default registry"


def _read(text: bytes, reference: Reference) -> _Document:
    try:
        document = msgspec.json.decode(text, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoSuchImage(f"{reference} has a manifest that cannot be read: {error}") from error
    kind = document.media_type
    if document.manifests is not None and kind in {*_LISTS, ""}:
        return document
    if document.config is not None and document.layers is not None and kind in {*_IMAGES, ""}:
        return document
    raise NoSuchImage(f"{reference} is no image that can be run ({kind[:100] or 'of an old kind'})")


def _size(document: _Document, reference: Reference) -> int:
    if document.layers is None:
        raise NoSuchImage(f"{reference} is a list inside a list")
    return sum(layer.size for layer in document.layers)


def _for_this_machine(manifests: list[_Blob], reference: Reference) -> _Blob:
    own = architecture()
    fitting = [
        each for each in manifests if each.platform and (each.platform.os, each.platform.architecture) == ("linux", own)
    ]
    if not fitting:
        known = sorted({f"{each.platform.os}/{each.platform.architecture}" for each in manifests if each.platform})
        raise NoSuchImage(f"{reference} is not made for linux/{own}, only for {', '.join(known)[:200] or '-'}")
    # The plainest variant runs on every machine of the architecture.
    return min(fitting, key=lambda each: each.platform.variant if each.platform else "")
