"""Names of images in registries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caisson.images.oci.reference import Reference, parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("alpine", Reference("", "alpine", "latest")),
        ("library/alpine:3.20", Reference("", "library/alpine", "3.20")),
        ("registry.example/team/app:v1", Reference("registry.example", "team/app", "v1")),
        ("localhost:5000/app", Reference("localhost:5000", "app", "latest")),
        ("localhost/app", Reference("localhost", "app", "latest")),
        ("127.0.0.1:5000/a/b/c:x", Reference("127.0.0.1:5000", "a/b/c", "x")),
        ("[::1]:5000/app", Reference("[::1]:5000", "app", "latest")),
        (f"app@{DIGEST}", Reference("", "app", "latest", DIGEST)),
        (f"r.example/app:1@{DIGEST}", Reference("r.example", "app", "1", DIGEST)),
    ],
)
def test_a_name_is_taken_apart(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    "text",
    [
        *("", "UPPER", "a b", "-a", "a:", "a/", "/a", "a//b", "a:b:c", "http://a/b", "a@sha256:12", "a@md5:00", "a\n"),
        *("--help", "docker://a", "../a", "a/../b", "a:-x", "TEAM/app", "a;b", "$(a)", "a" * 600),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no image"):
        parse_reference(text)


@given(st.text(max_size=60))
def test_what_is_read_never_looks_like_an_option_and_reads_the_same_again(text: str) -> None:
    try:
        reference = parse_reference(text)
    except ValueError:
        return
    assert not str(reference).startswith("-")
    assert parse_reference(str(reference)).digest == reference.digest
    assert parse_reference(str(reference)).name == reference.name
