"""API keys: who a request comes from, and what it may do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from starlette.types import Scope

from caisson.api.dashboard import is_public
from caisson.errors import Refusal, Refused
from caisson.store.errors import StoreError
from caisson.store.records import ApiKey, KeyScope
from caisson.store.store import Store

logger = structlog.get_logger(__name__)

DEFAULT_TENANT = "default"
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json"})
"""What a load balancer or a code generator asks for, which has no key."""
MAX_KEY_CHARS = 256
NOTE_USE_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf a request is, and what it may do."""

    tenant: str
    scopes: frozenset[KeyScope]


ANYONE_HERE = Principal(DEFAULT_TENANT, frozenset(KeyScope))
"""Whoever comes without a key where none is needed."""
NOBODY = Principal(DEFAULT_TENANT, frozenset())


class Authenticator:
    """Finds the principal of each request. Keys are looked up every time, so that a revoked one ends at once."""

    def __init__(self, store: Store, *, keys_needed: bool) -> None:
        self._store = store
        self._keys_needed = keys_needed

    async def authenticate(self, scope: Scope) -> Principal:
        """Raises Refused: 401 for a missing or unknown key, 403 for one that may not do this."""
        if scope["path"] in OPEN_PATHS or is_public(scope["path"]):
            return NOBODY
        key = presented_key(scope)
        if key is None:
            if not self._keys_needed:
                return ANYONE_HERE
            raise _unauthenticated("an API key is needed")
        if len(key) > MAX_KEY_CHARS or not key.isascii():
            raise _unauthenticated("the API key is not valid")
        found = await self._store.find_key(hashlib.sha256(key.encode()).hexdigest())
        if found is None:
            raise _unauthenticated("the API key is not valid, or no longer")
        needed = needed_scope(scope["method"], scope["path"])
        if needed not in found.scopes and KeyScope.ADMIN not in found.scopes:
            raise Refused(403, Refusal.FORBIDDEN, f"the API key does not have the scope `{needed}`")
        await self._note_use(found)
        return Principal(found.tenant, found.scopes)

    async def _note_use(self, key: ApiKey) -> None:
        now = datetime.now(UTC)
        if key.last_used_at is None or now - key.last_used_at > NOTE_USE_EVERY:
            try:
                await self._store.touch_key(key.digest, now)
            except StoreError as error:
                logger.warning("the use of a key could not be noted", key=key.prefix, error=error.detail)


def presented_key(scope: Scope) -> str | None:
    """The key in `Authorization: Bearer`, else in `X-API-Key`. Raises Refused (401) for another way to authenticate."""
    headers = {name: str(value, "latin-1") for name, value in scope["headers"]}
    authorization = headers.get(b"authorization")
    if authorization is None:
        return headers.get(b"x-api-key")
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise _unauthenticated("API keys are presented as `Authorization: Bearer KEY`")
    return key.strip()


def needed_scope(method: str, path: str) -> KeyScope:
    """The scope that a request needs. Nodes and images are the operator's: they serve the workloads of all tenants."""
    if path == "/v1/nodes" or path.startswith("/v1/nodes/"):
        return KeyScope.ADMIN
    if path.startswith("/v1/images/") and method not in ("GET", "HEAD", "OPTIONS"):
        return KeyScope.ADMIN
    if path.startswith("/v1/workloads/") and path.endswith("/spec"):
        # It shows the values of environment variables, which only those who set them are meant to know.
        return KeyScope.RUN
    return KeyScope.READ if method in ("GET", "HEAD", "OPTIONS") else KeyScope.RUN


def _unauthenticated(message: str) -> Refused:
    return Refused(401, Refusal.UNAUTHENTICATED, message, member="Authorization")
