"""`caisson images`: make, move, list, check and remove guest images, directly in this machine's catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caisson.cli.failing import complain, fail
from caisson.cli.options import Json
from caisson.cli.serve import load_settings

if TYPE_CHECKING:
    from caisson.images.catalog import Catalog, Image
    from caisson.images.oci.store import OciImage, OciStore
    from caisson.images.progress import Report
    from caisson.settings import Settings

_PROGRAM = "firecracker"
app = typer.Typer(help="Guest images of this machine: what gvisor and micro-VMs start from.", no_args_is_help=True)
ImagesDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of the images. Default: CAISSON_IMAGES_DIR.")
]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which images. Default: all there are.")]
References = Annotated[
    list[str], typer.Argument(metavar="NAME[@VERSION]...", help="Which images, as `images ls` shows them.")
]


@app.command()
def build(
    names: Names = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only those that are not there or out of date.")] = False,
    mirror: Annotated[str | None, typer.Option(metavar="URL", help="Debian mirror or snapshot to build from.")] = None,
    images_dir: ImagesDir = None,
    json: Json = False,
) -> None:
    """Build images from Debian packages. Needs mmdebstrap and erofs-utils, but no root.

    The kernels `kernel` and `kernel-cloud` are built if they are named.
    """
    from caisson.cli import progress
    from caisson.images import definitions

    with _catalog(images_dir) as catalog, progress.shown() as report:
        images = asyncio.run(_build(catalog, names or definitions.names(), missing, mirror, report))
    _print(catalog, images, json)


@app.command()
def pull(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME[@VERSION]]...", help="Which images. Default: all there are.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="SOURCE", help="https://…, oci://HOST/PATH, DIR. Default: CAISSON_IMAGES_SOURCE."
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Public key to trust; repeatable. Default: CAISSON_IMAGES_KEYS."),
    ] = None,
    arch: Annotated[str | None, typer.Option(metavar="NAME", help="amd64 or arm64. Default: this machine's.")] = None,
    images_dir: ImagesDir = None,
    json: Json = False,
) -> None:
    """Pull images that a trusted key has signed, or that are named by their whole digest, and make them current.

    `firecracker` is no image, but the pinned release of Firecracker and its jailer, from its own address.
    """
    from caisson.cli import progress
    from caisson.images import definitions

    settings = load_settings()
    if names and _PROGRAM in names:
        names.remove(_PROGRAM)
        _pull_firecracker(settings, json)
        if not names:
            return
    address = source or settings.images_source
    if address is None:
        fail("where from? Name it with --from or CAISSON_IMAGES_SOURCE")
    keys = tuple(key or settings.images_keys)
    with _catalog(images_dir) as catalog, progress.shown() as report:
        images = asyncio.run(_pull(catalog, address, names or definitions.names(), keys, arch, report))
    _print(catalog, images, json)


@app.command()
def push(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="oci://HOST/PATH, or a folder.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME[@VERSION]]...", help="Which images. Default: all there are.")
    ] = None,
    signing_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key to sign with. Default: CAISSON_IMAGES_SIGNING_KEY.")
    ] = None,
    images_dir: ImagesDir = None,
) -> None:
    """Push images to a registry, or into a folder to be put on the web, and print where they are."""
    from caisson.cli import progress

    private = signing_key or load_settings().images_signing_key
    with _catalog(images_dir) as catalog, progress.shown() as report:
        if names:
            images = [catalog.get(name) for name in names]
        else:
            images = [image for image in catalog.images() if catalog.is_current(image)]
        if not images:
            fail("there are no images here yet; make some with: caisson images build")
        if private is None:
            complain("no signing key is set: the images can then only be pulled by their digests")
        places = asyncio.run(_push(target, images, private, report))
    for image, place in zip(images, places, strict=True):
        typer.echo(f"{image.name}@{image.digest} {place}")


@app.command()
def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes. It must not exist yet.")],
) -> None:
    """Make a key to sign images with, and print its public half, for CAISSON_IMAGES_KEYS."""
    from caisson.images.signing import make_key

    try:
        typer.echo(make_key(file))
    except OSError as error:
        fail(f"{file} cannot be made: {error.strerror}")


@app.command("ls")
def list_images(images_dir: ImagesDir = None, json: Json = False) -> None:
    """List the images on this machine, those that runtime oci fetched from registries as well."""
    with _catalog(images_dir) as catalog:
        _print(catalog, catalog.images(), json, _fetched(_oci(catalog)))


@app.command()
def rm(references: References, images_dir: ImagesDir = None) -> None:
    """Remove images. One that sandboxes use stays, and the command fails."""
    with _catalog(images_dir) as catalog:
        store = _oci(catalog)
        fetched = {text: found for text in references if (found := _find_fetched(store, text))}
        for image in [catalog.get(reference) for reference in references if reference not in fetched]:
            catalog.remove(image)
            typer.echo(f"{image.name} {image.version} is removed")
        for text, fetched_image in fetched.items():
            store.remove(fetched_image)
            typer.echo(f"{text} is removed")


@app.command()
def prune(
    days: Annotated[
        float | None, typer.Option(min=0, metavar="N", help="Days unused. Default: CAISSON_IMAGES_KEEP_DAYS.")
    ] = None,
    mb: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="MiB that may stay. Default: CAISSON_IMAGES_KEEP_MB.")
    ] = None,
    images_dir: ImagesDir = None,
) -> None:
    """Remove images that are not current and long unused, as a server does every hour."""
    from caisson.images.retention import collect

    settings = load_settings()
    keep_days = settings.images_keep_days if days is None else days
    with _catalog(images_dir) as catalog:
        catalog.sweep()
        removed = collect(catalog, keep_days=keep_days, keep_mb=settings.images_keep_mb if mb is None else mb)
    for image in removed:
        typer.echo(f"{image.name} {image.version} is removed")


@app.command()
def verify(names: Names = None, images_dir: ImagesDir = None, json: Json = False) -> None:
    """Read every byte of the images and compare it with their manifests."""
    from caisson.cli.terminal import print_json
    from caisson.images.errors import ImageDamaged

    rows = []
    with _catalog(images_dir) as catalog:
        for image in [catalog.get(name) for name in names] if names else catalog.images():
            damage = None
            try:
                catalog.verify(image)
            except ImageDamaged as error:
                damage = error.message
                complain(damage)
            else:
                if not json:
                    typer.echo(f"{image.name} {image.version} is as it was made")
            rows.append(_told(catalog, image) | {"damage": damage})
    if json:
        print_json(rows)
    if any(row["damage"] for row in rows):
        fail("make what is damaged anew: caisson images rm NAME, caisson images build NAME")


def _pull_firecracker(settings: Settings, json: bool) -> None:
    from caisson.backends.microvm.firecracker import release
    from caisson.backends.microvm.firecracker.find import downloads
    from caisson.cli import progress
    from caisson.errors import Unavailable

    try:
        wanted = release.read_manifest(settings.firecracker_release or release.MANIFEST)
        with progress.shown() as report:
            programs = asyncio.run(release.fetch(wanted, downloads(settings), report))
    except Unavailable as error:
        fail(f"{error.message}; {error.fix}" if error.fix else error.message)
    if not json:
        typer.echo(f"Firecracker {wanted.version} is at {programs.firecracker}, its jailer beside it")


async def _build(catalog: Catalog, wanted: list[str], missing: bool, mirror: str | None, report: Report) -> list[Image]:
    from caisson.images.making import build_all

    catalog.sweep()
    return await build_all(catalog, wanted, missing=missing, mirror=mirror, report=report)


async def _pull(
    catalog: Catalog, address: str, references: list[str], keys: tuple[str, ...], arch: str | None, report: Report
) -> list[Image]:
    from caisson.images.sources import open_source
    from caisson.images.transfer import pull

    catalog.sweep()
    async with open_source(address) as source:
        return [await pull(catalog, source, reference, keys=keys, arch=arch, report=report) for reference in references]


async def _push(address: str, images: list[Image], key: Path | None, report: Report) -> list[str]:
    from caisson.images.sources import open_target
    from caisson.images.transfer import push

    async with open_target(address) as target:
        return [await push(image, target, key=key, report=report) for image in images]


@contextmanager
def _catalog(images_dir: Path | None) -> Iterator[Catalog]:
    """This machine's catalogue; what is wrong with images ends the command with a message."""
    from caisson import telemetry
    from caisson.images.catalog import Catalog
    from caisson.images.errors import ImageError

    settings = load_settings(images_dir=images_dir)
    telemetry.configure(settings.model_copy(update={"log_level": "error", "otlp_endpoint": None}))
    try:
        yield Catalog(settings.images_folder)
    except ImageError as error:
        fail(error.message)
    except OSError as error:
        fail(f"the folder {settings.images_folder} cannot be used: {error.strerror} ({error.filename})")


def _oci(catalog: Catalog) -> OciStore:
    from caisson.images.oci.store import OciStore

    return OciStore(catalog.folder / "oci")


def _find_fetched(store: OciStore, text: str) -> OciImage | None:
    """The image that `images ls` shows under this name, or whose digest begins like this."""
    for image in store.images():
        if text in store.names_of(image) or (len(text) >= len("sha256:") + 8 and image.digest.startswith(text)):
            return image
    return None


def _fetched(store: OciStore) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "version": image.digest.removeprefix("sha256:")[:12],
            "arch": image.arch,
            "digest": image.digest,
            "current": True,
            "size": image.about.size,
            "summary": "from a registry",
            "installed_at": datetime.fromtimestamp(image.used_at, UTC),
            "folder": str(image.folder),
        }
        for image in store.images()
        for name in store.names_of(image) or [image.digest]
    ]


def _print(catalog: Catalog, images: list[Image], json: bool, fetched: Sequence[dict[str, Any]] = ()) -> None:
    from caisson.cli import tables, terminal

    rows = [*(_told(catalog, image) for image in images), *fetched]
    if json:
        terminal.print_json(rows)
    else:
        terminal.show(tables.images(rows))


def _told(catalog: Catalog, image: Image) -> dict[str, Any]:
    return {
        "name": image.name,
        "version": image.version,
        "arch": image.arch,
        "digest": image.digest,
        "current": catalog.is_current(image),
        "size": image.manifest.size,
        "summary": image.manifest.summary,
        "installed_at": datetime.fromtimestamp(image.installed_at_s, UTC),
        "folder": str(image.folder),
    }
