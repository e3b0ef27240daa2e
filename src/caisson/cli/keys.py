"""`caisson keys`: make, list and revoke API keys, directly in the store of this machine's server."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from caisson.cli import quantities
from caisson.cli.failing import fail
from caisson.cli.options import Json
from caisson.cli.serve import load_settings, store_name
from caisson.store.records import ApiKey, KeyScope
from caisson.tenants import AuditEntry

if TYPE_CHECKING:
    from caisson.store.store import Store

T = TypeVar("T")
PREFIX_BYTES = 4
SECRET_BYTES = 32

app = typer.Typer(
    help="API keys of this machine's server. A running server knows of every change at once.", no_args_is_help=True
)
DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The server's data folder. Default: CAISSON_DATA_DIR.")
]


@app.command()
def create(
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Whose workloads it sees and makes.")] = "default",
    scope: Annotated[
        list[KeyScope] | None,
        typer.Option(help="What it may do; repeatable. admin includes the others. Default: run and read."),
    ] = None,
    expires: Annotated[
        float | None, typer.Option(parser=quantities.seconds, metavar="TIME", help="End of its life: 12h, 90d.")
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Make a key and print it. It is shown this once: only its hash is kept."""
    prefix, secret = secrets.token_hex(PREFIX_BYTES), secrets.token_hex(SECRET_BYTES)
    text = f"csn_{prefix}_{secret}"
    now = datetime.now(UTC)
    key = ApiKey(
        digest=hashlib.sha256(text.encode()).hexdigest(),
        prefix=prefix,
        tenant=tenant,
        scopes=frozenset(scope or (KeyScope.RUN, KeyScope.READ)),
        created_at=now,
        expires_at=None if expires is None else now + timedelta(seconds=expires),
    )
    scopes = " ".join(sorted(key.scopes))
    with_store(data_dir, lambda store: store.create_key(key), noted(tenant, "key.create", prefix, scopes))
    if json:
        from caisson.cli.terminal import print_json

        print_json({"key": text, **_told(key)})
    else:
        typer.echo(text)
        typer.echo("Keep it now: it is not shown again.", err=True)


@app.command("ls")
def list_keys(data_dir: DataDir = None, json: Json = False) -> None:
    """List the keys, without their secrets."""
    from caisson.cli import tables, terminal

    found = with_store(data_dir, lambda store: store.list_keys())
    if json:
        terminal.print_json([_told(key) for key in found])
    else:
        terminal.show(tables.keys(found))


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(metavar="KEY", help="The key's prefix, as `keys ls` shows it.")],
    data_dir: DataDir = None,
) -> None:
    """Revoke a key, at once and for good."""
    name = _prefix_of(prefix)
    if not with_store(data_dir, lambda store: store.revoke_key(name), noted("-", "key.revoke", name)):
        fail(f"there is no key {prefix} in force; `caisson keys ls` shows them")
    typer.echo(f"{prefix} is revoked")


def _prefix_of(text: str) -> str:
    """The prefix alone, also where a whole key was given."""
    return text.split("_")[1] if text.startswith("csn_") and text.count("_") > 1 else text.removeprefix("csn_")


def _told(key: ApiKey) -> dict[str, Any]:
    return {
        "prefix": key.prefix,
        "tenant": key.tenant,
        "scopes": sorted(key.scopes),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def noted(tenant: str, action: str, target: str, detail: str | None = None) -> AuditEntry:
    """What somebody on this machine does, for the audit log."""
    at = datetime.now(UTC)
    return AuditEntry(at=at, tenant=tenant, actor="command", action=action, target=target, detail=detail)


def with_store(data_dir: Path | None, use: Callable[[Store], Awaitable[T]], entry: AuditEntry | None = None) -> T:
    """What `use` makes of the store; where it made anything of it, `entry` is added to the audit log."""
    from caisson.errors import CaissonError
    from caisson.store.store import open_store

    settings = load_settings(data_dir=data_dir)

    async def work() -> T:
        async with open_store(settings.store_url) as store:
            done = await use(store)
            if entry is not None and done is not False:
                await store.note(entry)
            return done

    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return asyncio.run(work())
    except OSError as error:
        fail(f"the data folder {settings.data_dir} cannot be used: {error.strerror}. Choose another with --data-dir.")
    except CaissonError as error:
        fail(f"the store cannot be used: {error.message} ({store_name(settings)})")
