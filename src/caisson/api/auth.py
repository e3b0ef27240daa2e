"""API keys: who a request comes from, and what it may do."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from starlette.types import Scope

from caisson import metrics
from caisson.api.dashboard import is_public
from caisson.api.guesses import Guesses
from caisson.api.validity import Ending, Validity
from caisson.errors import Refusal, Refused
from caisson.store.errors import StoreError
from caisson.store.records import ApiKey, KeyScope
from caisson.store.store import Store
from caisson.tenants import AuditEntry

logger = structlog.get_logger(__name__)

DEFAULT_TENANT = "default"
LOCAL = "local"
"""Who comes without a key where none is needed."""
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json"})
"""What a load balancer or a code generator asks for, which has no key."""
MAX_KEY_CHARS = 256
NOTE_USE_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf a request is, and what it may do."""

    tenant: str
    scopes: frozenset[KeyScope]
    actor: str = LOCAL
    """The prefix of its key, for the audit log."""
    ended: Ending | None = field(default=None, compare=False)
    """Waits until its key is in force no more; None if nothing can end."""


ANYONE_HERE = Principal(DEFAULT_TENANT, frozenset(KeyScope))
"""Whoever comes without a key where none is needed."""
NOBODY = Principal(DEFAULT_TENANT, frozenset())


class Authenticator:
    """Finds the principal of each request. Keys are looked up every time, so that a revoked one ends at once."""

    def __init__(self, store: Store, *, keys_needed: bool, guesses: int = 10) -> None:
        self._store = store
        self._keys_needed = keys_needed
        self._guesses = Guesses(guesses)
        self._validity = Validity(store)

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
        digest = hashlib.sha256(key.encode()).hexdigest()
        address = (scope.get("client") or ("unknown", 0))[0]
        if wait_s := self._guesses.wait_s(address, digest):
            metrics.guesses_barred.inc()
            raise Refused(
                429, Refusal.TOO_MANY_GUESSES, "too many wrong API keys came from this address", retry_after_s=wait_s
            )
        found = await self._store.find_key(digest)
        # The store looked for the hash, whose bytes tell nothing of the key's; compared once more in constant time.
        if found is None or not hmac.compare_digest(found.digest, digest):
            if self._guesses.wrong(address):
                logger.warning("too many wrong API keys", address=address)
                self._note(DEFAULT_TENANT, "nobody", "key.barred", address)
            raise _unauthenticated("the API key is not valid, or no longer")
        self._guesses.right(address, digest)
        needed = needed_scope(scope["method"], scope["path"])
        if needed not in found.scopes and KeyScope.ADMIN not in found.scopes:
            raise Refused(403, Refusal.FORBIDDEN, f"the API key does not have the scope `{needed}`")
        await self._note_use(found)
        return Principal(found.tenant, found.scopes, found.prefix, partial(self._validity.ended, digest))

    def _note(self, tenant: str, actor: str, action: str, target: str) -> None:
        self._store.note(AuditEntry(at=datetime.now(UTC), tenant=tenant, actor=actor, action=action, target=target))

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
    """The scope that a request needs. Nodes, images and the audit log are the operator's: they are of all tenants."""
    if path in ("/v1/nodes", "/v1/audit") or path.startswith("/v1/nodes/"):
        return KeyScope.ADMIN
    if path.startswith("/v1/images/") and method not in ("GET", "HEAD", "OPTIONS"):
        return KeyScope.ADMIN
    if path.startswith("/v1/workloads/") and path.endswith("/spec"):
        # It shows the values of environment variables, which only those who set them are meant to know.
        return KeyScope.RUN
    return KeyScope.READ if method in ("GET", "HEAD", "OPTIONS") else KeyScope.RUN


def _unauthenticated(message: str) -> Refused:
    return Refused(401, Refusal.UNAUTHENTICATED, message, member="Authorization")
