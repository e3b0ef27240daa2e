"""Who we are to a registry: the auth files of docker and podman, and the tokens a registry hands out for them."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from caisson.images.errors import DownloadFailed
from caisson.images.http import checked_url, opened

MAX_AUTH_FILE_BYTES = 1 << 20
MAX_TOKEN_BYTES = 256 * 1024
_CHALLENGE = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def auth_files() -> Iterator[Path]:
    """Where docker and podman keep credentials, in the order in which they are looked at."""
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers/auth.json"
    home = Path(os.environ.get("HOME", "/nonexistent"))
    yield home / ".config/containers/auth.json"
    yield Path(os.environ.get("DOCKER_CONFIG", home / ".docker")) / "config.json"


def basic_for(host: str, repository: str) -> str | None:
    """`Basic …` for a registry, from the first auth file that knows the repository, one above it, or the host."""
    parts = [host, *repository.split("/")]
    wanted = ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
    for path in auth_files():
        try:
            if path.stat().st_size > MAX_AUTH_FILE_BYTES:
                continue
            entries = _auths(msgspec.json.decode(path.read_bytes()))
        except (OSError, msgspec.DecodeError):
            continue
        for name in wanted:
            if name in entries:
                return f"Basic {entries[name]}"
    return None


def _auths(document: Any) -> dict[str, str]:
    """Registry names and what stands for user and password there; entries of helper programs have neither."""
    found = {}
    auths = document.get("auths") if isinstance(document, dict) else None
    for name, entry in (auths if isinstance(auths, dict) else {}).items():
        text = entry.get("auth") if isinstance(entry, dict) else None
        if isinstance(text, str) and text:
            try:
                base64.b64decode(text, validate=True)
            except binascii.Error:
                continue
            bare = re.sub(r"^https?://|/(v1|v2)/?$", "", name).rstrip("/")
            found[bare] = text
    return found


async def answer(client: httpx2.AsyncClient, challenge: str, host: str, repository: str, actions: str) -> str:
    """The `Authorization` that a registry's challenge asks for. Raises DownloadFailed."""
    scheme, _, rest = challenge.partition(" ")
    basic = basic_for(host, repository)
    if scheme.lower() == "basic":
        if basic is None:
            raise DownloadFailed(f"{host} wants a password; give it one with: docker login {host}")
        return basic
    if scheme.lower() != "bearer":
        raise DownloadFailed(f"{host} wants an authentication that is not known here: {scheme[:40]}")
    fields = dict(_CHALLENGE.findall(rest))
    realm = checked_url(fields.get("realm", ""))
    if realm.scheme != "https" and realm.host != httpx2.URL(f"https://{host}").host:
        # The password must not go in the clear to wherever an answer says.
        raise DownloadFailed(f"{host} sends to {realm.host} for a token, and not by https")
    query = {"service": fields.get("service", ""), "scope": f"repository:{repository}:{actions}"}
    address = realm.copy_merge_params({name: text for name, text in query.items() if text})
    headers = {"Authorization": basic} if basic else {}
    content = bytearray()
    async with opened(client, "GET", str(address), headers=headers) as response:
        async for piece in response.aiter_raw():
            content += piece
            if len(content) > MAX_TOKEN_BYTES:
                raise DownloadFailed(f"{realm.host} answered with a token that is too long")
    try:
        document = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise DownloadFailed(f"{realm.host} answered with no token") from error
    token = document.get("token") or document.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise DownloadFailed(f"{realm.host} answered with no token")
    return f"Bearer {token}"
