"""The public Python client of a Caisson server, sync and async."""

from caisson.client.aio import AsyncClient
from caisson.client.errors import ApiError, BadAnswer, ClientError, PackError, Unreachable
from caisson.client.shapes import Page, Workload
from caisson.client.sync import Client

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadAnswer",
    "Client",
    "ClientError",
    "PackError",
    "Page",
    "Unreachable",
    "Workload",
]
