"""The keys an OpenID Connect issuer signs its tokens with: found through its own description, kept for a while."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx2
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, KeySet, RSAKey

from caisson.settings import is_loopback

logger = structlog.get_logger(__name__)

KEEP_S = 600.0
"""After this long the keys are fetched anew when a token comes."""
AGAIN_S = 10.0
"""A token with a key that is not known makes the keys be fetched anew, but not more often than this."""
FETCH_S = 5.0
MOST_BYTES = 1 << 20
LEAST_RSA_BITS = 2048


class IssuerUnreachable(Exception):
    """Its keys cannot be had, and none are known from before."""


@dataclass(slots=True)
class Issuer:
    """An issuer's public keys. While it cannot be reached, those known from before count."""

    name: str
    """Its `iss`, which is where its description lies."""
    keys_url: str | None = None
    """Where the keys lie; None: where its description says."""
    _keys: KeySet | None = None
    _tried_at: float = float("-inf")
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def keys(self, key_id: str | None) -> KeySet:
        """The keys, among them the one of this name where the issuer has it. Raises IssuerUnreachable."""
        async with self._lock:
            age_s = monotonic() - self._tried_at
            unknown = self._keys is None or not any(key.kid == key_id for key in self._keys)
            if age_s > KEEP_S or (unknown and age_s > AGAIN_S):
                self._tried_at = monotonic()
                try:
                    async with asyncio.timeout(FETCH_S):
                        self._keys = await self._fetch()
                except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, ValueError, JoseError) as error:
                    logger.warning("the issuer's keys could not be fetched", issuer=self.name, error=repr(error))
            if self._keys is None:
                raise IssuerUnreachable
            return self._keys

    async def _fetch(self) -> KeySet:
        async with httpx2.AsyncClient(timeout=FETCH_S, follow_redirects=False) as http:
            url = self.keys_url
            if url is None:
                described = await _read_json(http, f"{self.name.rstrip('/')}/.well-known/openid-configuration")
                if described.get("issuer") != self.name:
                    raise ValueError("its description is of another issuer")
                url = str(described.get("jwks_uri"))
            found = (await _read_json(http, url)).get("keys")
        keys: list[Key] = [
            key for each in (found if isinstance(found, list) else []) if (key := _usable(each)) is not None
        ]
        if not keys:
            raise ValueError("it has no key that is of use here")
        return KeySet(keys)


async def _read_json(http: httpx2.AsyncClient, url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ValueError(f"{url} is not https")
    text = bytearray()
    async with http.stream("GET", url, headers={"Accept": "application/json"}) as answer:
        answer.raise_for_status()
        async for piece in answer.aiter_bytes():
            text += piece
            if len(text) > MOST_BYTES:
                raise ValueError(f"{url} is larger than {MOST_BYTES} bytes")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"{url} is no JSON object")
    return found


def _usable(described: object) -> RSAKey | ECKey | None:
    """A public key for signatures of the two kinds that are taken; None for any other, secret ones above all."""
    if not isinstance(described, dict) or described.get("use", "sig") != "sig":
        return None
    try:
        match described.get("kty"):
            case "RSA":
                rsa = RSAKey.import_key(_without_secrets(described))
                return rsa if rsa.public_key.key_size >= LEAST_RSA_BITS else None
            case "EC" if described.get("crv") == "P-256":
                return ECKey.import_key(_without_secrets(described))
    except (JoseError, ValueError, TypeError, KeyError):
        pass
    return None


def _without_secrets(described: dict[str, Any]) -> dict[str, Any]:
    return {
        name: described[name] for name in ("kty", "kid", "use", "alg", "n", "e", "crv", "x", "y") if name in described
    }
