"""Images move whole and signed, or not at all: over a web folder, a folder and a real registry."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from caisson.images.catalog import Catalog, Image
from caisson.images.errors import ImageError
from caisson.images.manifest import EROFS
from caisson.images.signing import make_key
from caisson.images.sources import open_source, open_target
from caisson.images.transfer import pull, push
from tests.helpers.fileserver import Answer, FileServer, Handler, cut_off, instead, redirect, status
from tests.helpers.images import small_image
from tests.helpers.registry import PASSWORD, PASSWORD_LINE, USER, Registry, running_registry

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("mkfs.erofs") is None, reason="mkfs.erofs is not installed"),
]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image to send around."""
    return small_image(Catalog(tmp_path_factory.mktemp("origin")), packed=True)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A signing key, and its public half."""
    path = tmp_path_factory.mktemp("key") / "key.pem"
    return path, make_key(path)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, origin: Image, key: tuple[Path, str]) -> Path:
    """A folder with the image in it, signed."""
    folder = tmp_path_factory.mktemp("released")
    asyncio.run(push_to(str(folder), origin, key[0]))
    return folder


@pytest.fixture
def web(files: FileServer, released: Path) -> FileServer:
    """The same folder on the web."""
    for path in released.iterdir():
        files.serve(f"/images/{path.name}", path.read_bytes())
    return files


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that asks for no password."""
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Where to; an older image of the name is there."""
    catalog = Catalog(tmp_path / "images")
    small_image(catalog, content=b"old")
    return catalog


async def push_to(address: str, image: Image, key: Path | None = None) -> str:
    async with open_target(address) as target:
        return await push(image, target, key=key)


async def pull_from(address: str, catalog: Catalog, reference: str, *keys: str) -> Image:
    async with open_source(address) as source:
        return await pull(catalog, source, reference, keys=keys, arch="amd64")


def is_the_same(image: Image, origin: Image, catalog: Catalog) -> None:
    catalog.verify(image)
    assert image.digest == origin.digest
    assert catalog.find("small") == image
    assert (image.root / "bin" / "run").read_bytes() == b"echo hi\n"
    leftovers = [path for name in (".staging", ".downloads") for path in (catalog.folder / name).iterdir()]
    assert leftovers == []


def is_unchanged(catalog: Catalog) -> None:
    assert len(catalog.images()) == 1
    image = catalog.get("small")
    catalog.verify(image)
    assert (image.root / "bin" / "run").read_bytes() == b"old"


@pytest.mark.parametrize("reference", ["small", "small@VERSION", "small@DIGEST"])
async def test_a_signed_image_is_pulled_from_a_web_folder(
    web: FileServer, catalog: Catalog, origin: Image, key: tuple[Path, str], reference: str
) -> None:
    reference = reference.replace("VERSION", origin.version).replace("DIGEST", origin.digest)
    image = await pull_from(web.url + "/images/", catalog, reference, key[1])
    is_the_same(image, origin, catalog)
    asked = len(web.requests)
    assert await pull_from(web.url + "/images", catalog, reference, key[1]) == image
    assert len(web.requests) <= asked + 2


async def test_a_folder_works_as_the_web_does(
    released: Path, catalog: Catalog, origin: Image, key: tuple[Path, str]
) -> None:
    is_the_same(await pull_from(str(released), catalog, "small", key[1]), origin, catalog)


def erofs(origin: Image) -> str:
    return f"/images/small-amd64-{origin.manifest.files[EROFS].sha256[:16]}-{EROFS}"


@pytest.mark.parametrize(
    ("path", "fault", "why"),
    [
        ("json", lambda text: text.replace(b"for tests", b"for users"), "the manifest was changed"),
        ("json", lambda text: text[:-20], "the manifest was changed"),
        ("json", lambda text: b"x" * (5 << 20), "larger than"),
        ("json", None, "is not there"),
        ("sig", lambda text: text.replace(b'"signature": "', b'"signature": "AAAA'), "the manifest was changed"),
        ("sig", lambda text: b"no signature", "signature file is damaged"),
        ("sig", None, "it is not signed"),
        ("erofs", lambda text: b"x" + text[1:], "other bytes than expected"),
        ("erofs", lambda text: text[:-4096], "has 0 bytes instead of 4096"),
        ("erofs", lambda text: text + b"x", "has 4097 bytes instead of 4096"),
        ("erofs", None, "is not there"),
    ],
)
async def test_what_is_damaged_wrong_or_unsigned_changes_nothing_and_is_told(
    web: FileServer,
    catalog: Catalog,
    origin: Image,
    key: tuple[Path, str],
    path: str,
    fault: Callable[[bytes], bytes] | None,
    why: str,
) -> None:
    where = {"json": "/images/small-amd64.json", "sig": "/images/small-amd64.json.sig", "erofs": erofs(origin)}[path]
    good = web.files.pop(where)
    if fault is not None:
        web.files[where] = fault(good)
    with pytest.raises(ImageError, match=why):
        await pull_from(web.url + "/images", catalog, "small", key[1])
    is_unchanged(catalog)
    web.files[where] = good
    is_the_same(await pull_from(web.url + "/images", catalog, "small", key[1]), origin, catalog)


@pytest.mark.parametrize(
    "faults", [[cut_off(1000), status(503)], [instead(b"x"), instead(b"y")][:0], [redirect("/elsewhere")]]
)
async def test_faults_that_pass_do_not_keep_an_image_away(
    web: FileServer, catalog: Catalog, origin: Image, key: tuple[Path, str], faults: list[Answer]
) -> None:
    web.faults[erofs(origin)] = list(faults)
    web.files["/elsewhere"] = web.files[erofs(origin)]
    is_the_same(await pull_from(web.url + "/images", catalog, "small", key[1]), origin, catalog)


async def test_an_image_of_someone_else_or_another_name_is_refused(
    web: FileServer, catalog: Catalog, origin: Image, tmp_path: Path, key: tuple[Path, str]
) -> None:
    other = make_key(tmp_path / "other.pem")
    with pytest.raises(ImageError, match=rf"does not trust \(its digest is {origin.digest}\)"):
        await pull_from(web.url + "/images", catalog, "small", other)
    with pytest.raises(ImageError, match=f"has the digest {origin.digest}, not sha256:00"):
        await pull_from(web.url + "/images", catalog, "small@sha256:" + "0" * 64, key[1])
    web.files["/images/large-amd64.json"] = web.files["/images/small-amd64.json"]
    web.files["/images/large-amd64.json.sig"] = web.files["/images/small-amd64.json.sig"]
    with pytest.raises(ImageError, match="instead of the image large"):
        await pull_from(web.url + "/images", catalog, "large", key[1])
    is_unchanged(catalog)


async def test_an_image_goes_through_a_registry_and_comes_back_the_same(
    registry: Registry, catalog: Catalog, origin: Image, key: tuple[Path, str]
) -> None:
    address = f"oci://{registry.host}/team/images"
    where = await push_to(address, origin, key[0])
    assert where == f"{address}/small:{origin.version}-amd64"
    assert await push_to(address, origin, key[0]) == where
    for reference in ("small", f"small@{origin.version}", f"small@{origin.digest}"):
        is_the_same(await pull_from(address, catalog, reference, key[1]), origin, catalog)
        catalog.remove(catalog.get("small"))


async def test_an_unsigned_image_in_a_registry_is_taken_only_by_its_digest(
    registry: Registry, catalog: Catalog, origin: Image, key: tuple[Path, str]
) -> None:
    address = f"oci://{registry.host}/unsigned"
    await push_to(address, origin)
    with pytest.raises(ImageError, match="it is not signed"):
        await pull_from(address, catalog, "small", key[1])
    is_unchanged(catalog)
    is_the_same(await pull_from(address, catalog, f"small@{origin.digest}"), origin, catalog)


async def test_a_blob_that_a_registry_has_changed_is_refused(
    registry: Registry, catalog: Catalog, origin: Image, key: tuple[Path, str]
) -> None:
    address = f"oci://{registry.host}/changed"
    await push_to(address, origin, key[0])
    sha256 = origin.manifest.files[EROFS].sha256
    blob = registry.root / f"docker/registry/v2/blobs/sha256/{sha256[:2]}/{sha256}/data"
    good = blob.read_bytes()
    blob.write_bytes(b"x" + good[1:])
    try:
        with pytest.raises(ImageError, match="other bytes than expected"):
            await pull_from(address, catalog, "small", key[1])
        is_unchanged(catalog)
    finally:
        blob.write_bytes(good)


async def test_a_registry_that_is_down_or_knows_nothing_is_told(catalog: Catalog, registry: Registry) -> None:
    with pytest.raises(ImageError, match="cannot be reached"):
        await pull_from("oci://127.0.0.1:1/team", catalog, "small")
    with pytest.raises(ImageError, match="is not there"):
        await pull_from(f"oci://{registry.host}/team", catalog, "nothing")
    for address in ("oci://", "oci://host/UPPER", "oci://host/a/../b", "oci://user@host/a"):
        with pytest.raises(ImageError, match="is no registry"):
            await pull_from(address, catalog, "small")
    is_unchanged(catalog)


async def test_a_registry_with_passwords_reads_them_from_the_usual_file(
    tmp_path: Path, catalog: Catalog, origin: Image, key: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with running_registry(tmp_path / "registry", password_file=PASSWORD_LINE) as registry:
        address = f"oci://{registry.host}/team"
        with pytest.raises(ImageError, match=f"docker login {registry.host}"):
            await push_to(address, origin, key[0])
        auth = base64.b64encode(f"{USER}:wrong".encode()).decode()
        file = tmp_path / "config.json"
        file.write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
        with pytest.raises(ImageError, match="wants credentials"):
            await push_to(address, origin, key[0])
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        file.write_text(json.dumps({"auths": {f"http://{registry.host}/v2/": {"auth": auth}}}))
        await push_to(address, origin, key[0])
        is_the_same(await pull_from(address, catalog, "small", key[1]), origin, catalog)


async def test_a_token_is_fetched_where_a_registry_wants_one(files: FileServer, catalog: Catalog) -> None:
    def wants_token(handler: Handler) -> None:
        if handler.headers.get("Authorization") == "Bearer good":
            handler.content(b"{}")
        else:
            realm = f'Bearer realm="{files.url}/token",service="tests",scope="ignored"'
            handler.head(401, {"Content-Length": "0", "WWW-Authenticate": realm})

    files.serve("/v2/team/small/manifests/amd64", b"", *[wants_token] * 9)
    token = "/token?service=tests&scope=repository%3Ateam%2Fsmall%3Apull"
    files.serve(token, b'{"token": "bad"}')
    with pytest.raises(ImageError, match="wants credentials"):
        await pull_from(f"oci://127.0.0.1:{files.port}/team", catalog, "small")
    files.serve(token, b'{"access_token": "good"}')
    with pytest.raises(ImageError, match="is no image of Caisson"):
        await pull_from(f"oci://127.0.0.1:{files.port}/team", catalog, "small")


async def test_an_upload_that_breaks_off_goes_on_where_the_registry_has_come_to(
    registry: Registry, origin: Image, key: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from caisson.images import registry as module
    from caisson.images.http import Passing

    monkeypatch.setattr(module, "CHUNK_BYTES", 1024)
    real, sent = module.RegistryPlace._opened, []

    @asynccontextmanager
    async def flaky(
        self: module.RegistryPlace, repository: str, method: str, url: str, **rest: object
    ) -> AsyncIterator[object]:
        if method == "PATCH":
            sent.append(rest["headers"]["Content-Range"])  # type: ignore[index]  # there is one with every piece
            if len(sent) == 3:
                raise Passing("the line went dead")
        async with real(self, repository, method, url, **rest) as response:  # type: ignore[arg-type]  # passed on as they came
            yield response

    monkeypatch.setattr(module.RegistryPlace, "_opened", flaky)
    await push_to(f"oci://{registry.host}/broken", origin, key[0])
    assert sent[:4] == ["0-1023", "1024-2047", "2048-3071", "2048-3071"]
