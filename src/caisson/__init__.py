"""Caisson: a self-hosted compute platform that runs code nobody has to trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caisson.client import ApiError as ApiError
    from caisson.client import AsyncClient as AsyncClient
    from caisson.client import Client as Client
    from caisson.client import Unreachable as Unreachable

    __version__: str

_FROM_CLIENT = frozenset({"ApiError", "AsyncClient", "Client", "Unreachable"})


def __getattr__(name: str) -> object:
    """Import the client, and ask for the version, only for those who want them: start-up time is felt."""
    if name == "__version__":
        return _version()
    if name not in _FROM_CLIENT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from caisson import client

    return getattr(client, name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("caisson")
    except PackageNotFoundError:  # running from a source tree that was never installed
        return "0.0.0"
