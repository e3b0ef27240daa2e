"""An image that was fetched for a workload stays until that has taken it, however little is to be kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from caisson.backends.gvisor.roots import Roots
from caisson.images.oci import pull, skopeo
from caisson.images.oci.reference import Reference, parse_reference
from caisson.images.oci.skopeo import Access, Offer
from caisson.images.oci.store import OciImage, OciStore
from caisson.model import Runtime
from caisson.sandbox.contract import SandboxSpec
from caisson.settings import Settings

pytestmark = pytest.mark.anyio

WANTED, OTHER = (SandboxSpec(Runtime.OCI, 64, 64, image=f"h.example/{name}:1") for name in ("wanted", "other"))


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Roots:
    """Keeps no images, and knows a registry that has one under every name."""

    async def look(reference: Reference, access: Access) -> Offer:
        digest = digest_of(reference.repository.encode())
        return Offer(digest, digest, 1000)

    async def copy(reference: Reference, layout: Path, blobs: Path, access: Access, max_bytes: int) -> None:
        config = b"{}"
        manifest = json.dumps({"config": {"digest": digest_of(config)}, "layers": []}).encode()
        for blob in (config, manifest):
            (blobs / digest_of(blob).replace(":", "/")).write_bytes(blob)
        await asyncio.to_thread(layout.mkdir)
        (layout / "index.json").write_text(json.dumps({"manifests": [{"digest": digest_of(manifest)}]}))

    async def unpack(layout: Path, blobs: Path, root: Path, **limits: object) -> None:
        await asyncio.to_thread(root.mkdir)

    monkeypatch.setattr(skopeo, "look", look)
    monkeypatch.setattr(skopeo, "copy", copy)
    monkeypatch.setattr(pull, "unpack", unpack)
    return Roots(Settings(images_dir=tmp_path, oci_keep_mb=0))


@pytest.fixture
def store(tmp_path: Path) -> OciStore:
    """Where they lie, as another server has it."""
    return OciStore(tmp_path / "oci")


def digests(store: OciStore) -> set[str]:
    return {image.digest for image in store.images()}


async def test_an_image_stays_until_its_workload_has_taken_it_and_goes_when_nobody_uses_it(
    roots: Roots, store: OciStore
) -> None:
    wanted, other = (digest_of(name.encode()) for name in ("wanted", "other"))
    async with AsyncExitStack() as sandbox:
        with await roots.provide(WANTED):
            with await roots.provide(OTHER):
                assert digests(store) == {wanted, other}
            assert roots.lease(WANTED, sandbox).digest == wanted
        store.sweep(keep_bytes=0, keep_s=1)
        assert digests(store) == {wanted}
    with await roots.provide(OTHER):
        assert digests(store) == {other}


async def test_an_image_is_not_taken_by_another_server_s_sweep_when_it_has_just_appeared(
    roots: Roots, store: OciStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = OciStore.add

    def add_before_a_sweep(self: OciStore, *image: Any) -> OciImage:
        added = add(self, *image)
        assert store.sweep(keep_bytes=0, keep_s=1) == []
        return added

    monkeypatch.setattr(OciStore, "add", add_before_a_sweep)
    with await roots.provide(WANTED):
        assert store.find(parse_reference("h.example/wanted:1")) is not None
