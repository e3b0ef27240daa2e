"""A tenant's images: counted once each, as long as they are here, for each tenant that had them fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from caisson.images.oci.claims import Claims
from caisson.images.oci.reference import Reference, parse_reference
from caisson.images.oci.store import About, OciImage, OciStore

SIZE = 1000


def fetched(store: OciStore, reference: Reference, digit: str) -> OciImage:
    """As if it had been pulled."""
    digest = "sha256:" + digit * 64
    with store.staging() as folder:
        fresh = folder / "image"
        (fresh / "root").mkdir(parents=True)
        image = store.add(fresh, About(digest, str(reference), "amd64", SIZE, ()))
    store.name(reference, digest, 0)
    return image


def test_a_new_image_is_claimed_while_those_before_take_less_than_the_limit(store: OciStore) -> None:
    claims = Claims(store)
    one, other, third = (parse_reference(f"h.example/{name}:1") for name in ("one", "other", "third"))
    assert not claims.claim("a", one, 0)
    assert claims.claim("a", one, SIZE + 1)
    fetched(store, one, "1")
    assert claims.claim("a", other, SIZE + 1)
    image = fetched(store, other, "2")
    assert not claims.claim("a", third, 2 * SIZE)
    assert claims.claim("a", third, 2 * SIZE + 1)
    assert claims.claim("a", one, 0), "what is there already costs nothing"
    assert claims.claim("b", third, 1), "another tenant's are not counted"
    assert claims.claim("a", third, None)
    store.remove(image)
    assert claims.claim("a", parse_reference("h.example/fourth:1"), SIZE + 1), "what was removed counts no more"


def test_two_names_of_one_image_are_one_image(store: OciStore) -> None:
    claims = Claims(store)
    for name in ("h.example/a:1", "h.example/a:2"):
        assert claims.claim("a", parse_reference(name), SIZE + 1)
        fetched(store, parse_reference("h.example/a:1"), "1")
        store.name(parse_reference(name), "sha256:" + "1" * 64, 0)
    assert claims.claim("a", parse_reference("h.example/b:1"), SIZE + 1)


@pytest.mark.parametrize("tenant", ["../../etc", "a/b", "\0", "x" * 500, ""])
def test_no_name_of_a_tenant_leads_anywhere(tenant: str, store: OciStore, tmp_path: Path) -> None:
    assert Claims(store).claim(tenant, parse_reference("h.example/a:1"), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["oci"]
