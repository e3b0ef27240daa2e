"""Ed25519 signatures under image manifests: who made an image that came from elsewhere.

A public key is written `ed25519:` and the base64 of its 32 bytes; a private key is a PEM file as openssl makes it.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from msgspec import Meta, Struct

from caisson.images.errors import ImageError, Untrusted

SIGNATURE = "manifest.json.sig"
MAX_SIGNATURE_BYTES = 64 * 1024
_SCHEME = "ed25519:"
_PURPOSE = b"caisson image manifest v1\n"
"""Signed with the manifest, so that a signature under something else is none under an image."""


class Signature(Struct, frozen=True, forbid_unknown_fields=True):
    """One signature: whose, and over what."""

    key: Annotated[str, Meta(max_length=128)]
    signature: Annotated[str, Meta(max_length=128)]


class Signatures(Struct, frozen=True, forbid_unknown_fields=True):
    """All signatures under one manifest."""

    signatures: Annotated[tuple[Signature, ...], Meta(max_length=64)]


def make_key(path: Path) -> str:
    """Write a new private key to `path`, which must not exist, for its owner alone; its public key."""
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    return public_text(key.public_key())


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file; raises ImageError if there is none."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ImageError(f"the signing key {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ImageError(f"{path} holds no ed25519 key without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ImageError(f"{path} holds a key of another kind than ed25519")
    return key


def public_text(key: Ed25519PublicKey) -> str:
    """How a public key is written in settings and signatures."""
    return _SCHEME + base64.b64encode(key.public_bytes_raw()).decode()


def parse_key(text: str) -> Ed25519PublicKey:
    """A public key from its text; raises ImageError if it is none."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.removeprefix(_SCHEME), validate=True))
    except (ValueError, binascii.Error) as error:
        raise ImageError(f"`{text[:80]}` is no public key; one is written {_SCHEME}BASE64") from error


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """The text of a signature file for a manifest's text."""
    signature = base64.b64encode(key.sign(_PURPOSE + manifest)).decode()
    whole = Signatures(signatures=(Signature(key=public_text(key.public_key()), signature=signature),))
    return msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"


def check(manifest: bytes, signature_file: bytes | None, trusted: Collection[str]) -> str:
    """The trusted key that has signed this manifest; raises Untrusted if none has."""
    keys = {public_text(key): key for key in map(parse_key, trusted)}
    if not keys:
        raise Untrusted(
            "no key is trusted; name one in CAISSON_IMAGES_KEYS, or the image's whole digest: NAME@sha256:…"
        )
    if signature_file is None:
        raise Untrusted("it is not signed")
    try:
        found = msgspec.json.decode(signature_file, type=Signatures)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Untrusted(f"its signature file is damaged: {error}") from error
    for signature in found.signatures:
        key = keys.get(signature.key)
        if key is not None:
            try:
                key.verify(base64.b64decode(signature.signature, validate=True), _PURPOSE + manifest)
            except (InvalidSignature, ValueError, binascii.Error) as error:
                raise Untrusted(f"the signature by {signature.key} is wrong: the manifest was changed") from error
            return signature.key
    signers = ", ".join(signature.key[:80] for signature in found.signatures) or "nobody"
    raise Untrusted(f"it is signed by {signers}, whom this machine does not trust")
