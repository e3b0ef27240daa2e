"""A manifest is believed if someone trusted has signed it, and in no other case."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from caisson.images.errors import ImageError, Untrusted
from caisson.images.signing import check, make_key, parse_key, public_text, read_key, sign

MANIFEST = b'{"name": "python"}\n'


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    make_key(path)
    return path


def public(path: Path) -> str:
    return public_text(read_key(path).public_key())


def test_what_a_trusted_key_signed_is_believed(key: Path) -> None:
    assert check(MANIFEST, sign(MANIFEST, read_key(key)), [public(key)]) == public(key)


def test_a_new_key_is_its_owners_alone_and_replaces_none(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        make_key(key)
    assert public_text(parse_key(public(key))) == public(key)


def test_a_changed_manifest_an_unknown_signer_and_no_signature_are_refused(key: Path, tmp_path: Path) -> None:
    signature = sign(MANIFEST, read_key(key))
    other = make_key(tmp_path / "other.pem")
    with pytest.raises(Untrusted, match="was changed"):
        check(MANIFEST + b" ", signature, [public(key)])
    with pytest.raises(Untrusted, match="whom this machine does not trust"):
        check(MANIFEST, signature, [other])
    with pytest.raises(Untrusted, match="not signed"):
        check(MANIFEST, None, [public(key)])
    with pytest.raises(Untrusted, match="CAISSON_IMAGES_KEYS"):
        check(MANIFEST, signature, [])
    with pytest.raises(Untrusted, match="was changed"):
        check(MANIFEST, signature.replace(public(key).encode(), other.encode()), [other])


@pytest.mark.parametrize("damaged", [b"", b"{}", b"\xff", b'{"signatures": [{"key": 1}]}', b'{"signatures": []}'])
def test_a_damaged_signature_file_is_refused(key: Path, damaged: bytes) -> None:
    with pytest.raises(Untrusted):
        check(MANIFEST, damaged, [public(key)])


def test_a_signature_under_something_else_is_none_under_a_manifest(key: Path) -> None:
    import base64

    import msgspec

    bare = base64.b64encode(read_key(key).sign(MANIFEST)).decode()
    file = msgspec.json.encode({"signatures": [{"key": public(key), "signature": bare}]})
    with pytest.raises(Untrusted):
        check(MANIFEST, file, [public(key)])


def test_keys_made_by_openssl_do_and_other_kinds_do_not(tmp_path: Path) -> None:
    for kind, good in {"ed25519": True, "x25519": False}.items():
        path = tmp_path / kind
        subprocess.run(["openssl", "genpkey", "-algorithm", kind, "-out", path], check=True, capture_output=True)
        if good:
            assert check(MANIFEST, sign(MANIFEST, read_key(path)), [public(path)])
        else:
            with pytest.raises(ImageError, match="another kind"):
                read_key(path)
    with pytest.raises(ImageError, match="cannot be read"):
        read_key(tmp_path / "none")
    (tmp_path / "text").write_text("no key")
    with pytest.raises(ImageError, match="no ed25519 key"):
        read_key(tmp_path / "text")


@pytest.mark.parametrize("text", ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", "ed25519:" + "A" * 45])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ImageError, match="no public key"):
        parse_key(text)
