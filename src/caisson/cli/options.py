"""Options that several commands share, and the server they name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from caisson.cli.failing import REFUSED, UNREACHABLE, USAGE, fail

if TYPE_CHECKING:
    from caisson.client import Client

SERVER_PANEL = "Server"

Api = Annotated[
    str | None,
    typer.Option(
        "--api",
        metavar="URL",
        help="Address of the server. Default: CAISSON_API, else http://127.0.0.1:8080.",
        rich_help_panel=SERVER_PANEL,
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", metavar="KEY", help="API key. Default: CAISSON_API_KEY.", rich_help_panel=SERVER_PANEL),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WorkloadId = Annotated[str, typer.Argument(metavar="ID", help="The workload's id.")]


@dataclass(frozen=True, slots=True)
class Server:
    """The server named before the command; what is named after it comes first."""

    api: str | None
    api_key: str | None


@contextmanager
def connected(ctx: typer.Context, api: str | None, api_key: str | None) -> Iterator[Client]:
    """A client of the server that options, environment and `.env` name; its errors end the command with a message."""
    from dotenv import dotenv_values

    from caisson.client import ApiError, Client, ClientError, Unreachable

    early: Server = ctx.obj
    file = dotenv_values(".env")
    url = api or early.api or setting("CAISSON_API", file)
    key = api_key or early.api_key or setting("CAISSON_API_KEY", file)
    try:
        client = Client(url, key)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        with client:
            yield client
    except ApiError as error:
        hint = ". Give a key with --api-key or CAISSON_API_KEY" if error.status == 401 else ""
        fail(f"{error}{hint}", REFUSED)
    except Unreachable as error:
        fail(str(error), UNREACHABLE)
    except ClientError as error:
        fail(str(error))
    except UnicodeEncodeError as error:
        # Arguments, file names and environment may be any bytes; Python holds them as lone surrogates.
        fail(f"what was given is not UTF-8 text: {error.object[:60]!r}", USAGE)


def setting(name: str, file: dict[str, str | None]) -> str | None:
    """What the environment says, else what the `.env` file does."""
    # Also an empty one wins over the file: it says that there is to be none.
    return os.environ[name] if name in os.environ else file.get(name)
