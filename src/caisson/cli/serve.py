"""`caisson serve`: the server, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caisson.cli.failing import fail

if TYPE_CHECKING:
    from caisson.settings import Settings


def serve(
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where to listen. Default: CAISSON_LISTEN, else 127.0.0.1:8080."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where everything is kept. Default: CAISSON_DATA_DIR.")
    ] = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM. Every other setting is a CAISSON_* variable."""
    settings = load_settings(listen=listen, data_dir=data_dir)
    from caisson import app
    from caisson.errors import CaissonError
    from caisson.store.errors import StoreError

    try:
        app.serve(settings)
    except StoreError as error:
        fail(f"the server cannot start: {error.message} ({store_name(settings)})")
    except CaissonError as error:
        fix = getattr(error, "fix", None)
        fail(f"the server cannot start: {error.message}" + (f". To mend it: {fix}." if fix else ""))


def store_name(settings: Settings) -> str:
    """Where the store is, in words that give no password away."""
    return "CAISSON_DATABASE_URL" if settings.database_url else str(settings.data_dir / "caisson.db")


def load_settings(**given: object) -> Settings:
    """The settings, those `given` before environment and `.env`; a bad one ends the command naming it."""
    from pydantic import ValidationError

    from caisson.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # checked by pydantic
    except ValidationError as error:
        wrong = "; ".join(f"CAISSON_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        fail(f"a setting is wrong: {wrong}")
