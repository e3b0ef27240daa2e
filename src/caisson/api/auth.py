"""API keys and tokens: who a request comes from, and what it may do."""

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
from caisson.api.issuer import IssuerUnreachable
from caisson.api.oidc import BadToken, Expired, Tokens, is_token
from caisson.api.validity import Ending, Validity, expired
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
AUTHORIZATION = "Authorization"
"""The member at fault where it is what the request came with, in whichever header."""
SOON_S = 10
"""When to come again for a token whose issuer was not there."""


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf a request is, and what it may do."""

    tenant: str
    scopes: frozenset[KeyScope]
    actor: str = LOCAL
    """The prefix of its key, or its token's subject, for the audit log."""
    ended: Ending | None = field(default=None, compare=False)
    """Waits until its key is in force no more; None if nothing can end."""


ANYONE_HERE = Principal(DEFAULT_TENANT, frozenset(KeyScope))
"""Whoever comes without a key where none is needed."""
NOBODY = Principal(DEFAULT_TENANT, frozenset())


class Authenticator:
    """Finds the principal of each request. Keys are looked up every time, so that a revoked one ends at once."""

    def __init__(self, store: Store, *, keys_needed: bool, guesses: int = 10, tokens: Tokens | None = None) -> None:
        self._store = store
        self._keys_needed = keys_needed
        self._guesses = Guesses(guesses)
        self._validity = Validity(store)
        self._tokens = tokens

    async def authenticate(self, scope: Scope) -> Principal:
        """Raises Refused: 401 for a missing or unknown key, 403 for one that may not do this."""
        if scope["path"] in OPEN_PATHS or is_public(scope["path"]):
            return NOBODY
        key = presented_key(scope)
        if key is None:
            if not self._keys_needed:
                return ANYONE_HERE
            raise _unauthenticated("an API key is needed")
        if self._tokens is not None and is_token(key):
            return _permitted(scope, await self._of_token(self._tokens, key, client_address(scope)))
        if len(key) > MAX_KEY_CHARS or not key.isascii():
            raise _unauthenticated("the API key is not valid")
        digest = hashlib.sha256(key.encode()).hexdigest()
        address = client_address(scope)
        self._bar(address, digest)
        found = await self._store.find_key(digest)
        # The store looked for the hash, whose bytes tell nothing of the key's; compared once more in constant time.
        if found is None or not hmac.compare_digest(found.digest, digest):
            self._guessed(address)
            raise _unauthenticated("the API key is not valid, or no longer")
        self._guesses.right(address, digest)
        ended = partial(self._validity.ended, digest)
        who = _permitted(scope, Principal(found.tenant, found.scopes, found.prefix, ended))
        await self._note_use(found)
        return who

    async def _of_token(self, tokens: Tokens, token: str, address: str) -> Principal:
        digest = hashlib.sha256(token.encode()).hexdigest()
        self._bar(address, digest)
        try:
            bearer = await tokens.read(token)
        except BadToken as error:
            if not isinstance(error, Expired):
                self._guessed(address)
            raise _unauthenticated(f"the token is not valid: {error}") from None
        except IssuerUnreachable:
            message = "the keys of the tokens' issuer cannot be fetched"
            raise Refused(503, Refusal.NOT_READY, message, member=AUTHORIZATION, retry_after_s=SOON_S) from None
        self._guesses.right(address, digest)
        return Principal(bearer.tenant, bearer.scopes, bearer.actor, partial(expired, bearer.ends_at))

    def _bar(self, address: str, digest: str) -> None:
        if wait_s := self._guesses.wait_s(address, digest):
            metrics.guesses_barred.inc()
            message = "too many wrong API keys came from this address"
            raise Refused(429, Refusal.TOO_MANY_GUESSES, message, member=AUTHORIZATION, retry_after_s=wait_s)

    def _guessed(self, address: str) -> None:
        if self._guesses.wrong(address):
            logger.warning("too many wrong API keys", address=address)
            self._note(DEFAULT_TENANT, "nobody", "key.barred", address)

    def _note(self, tenant: str, actor: str, action: str, target: str) -> None:
        self._store.note(AuditEntry(at=datetime.now(UTC), tenant=tenant, actor=actor, action=action, target=target))

    async def _note_use(self, key: ApiKey) -> None:
        now = datetime.now(UTC)
        if key.last_used_at is None or now - key.last_used_at > NOTE_USE_EVERY:
            try:
                await self._store.touch_key(key.digest, now)
            except StoreError as error:
                logger.warning("the use of a key could not be noted", key=key.prefix, error=error.detail)


def client_address(scope: Scope) -> str:
    """Where a request comes from."""
    return str((scope.get("client") or ("unknown", 0))[0])


def _permitted(scope: Scope, who: Principal) -> Principal:
    """Who it is, if what it came with allows the request. Raises Refused (403)."""
    needed = needed_scope(scope["method"], scope["path"])
    if needed not in who.scopes and KeyScope.ADMIN not in who.scopes:
        message = f"the API key or token does not have the scope `{needed}`"
        raise Refused(403, Refusal.FORBIDDEN, message, member=AUTHORIZATION)
    return who


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
    """The scope that a request needs. The host, nodes, images and the audit log are the operator's: they are of all."""
    if path in ("/v1/doctor", "/v1/nodes", "/v1/audit") or path.startswith("/v1/nodes/"):
        return KeyScope.ADMIN
    if path.startswith("/v1/images/") and method not in ("GET", "HEAD", "OPTIONS"):
        return KeyScope.ADMIN
    if path.startswith("/v1/workloads/") and path.endswith("/spec"):
        # It shows the values of environment variables, which only those who set them are meant to know.
        return KeyScope.RUN
    return KeyScope.READ if method in ("GET", "HEAD", "OPTIONS") else KeyScope.RUN


def _unauthenticated(message: str) -> Refused:
    return Refused(401, Refusal.UNAUTHENTICATED, message, member=AUTHORIZATION)
