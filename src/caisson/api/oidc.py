"""Tokens of an OpenID Connect issuer, as another way than API keys to say who a request comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, extract_compact

from caisson.api.issuer import Issuer
from caisson.settings import Settings
from caisson.store.records import KeyScope

ALGORITHMS = ("RS256", "ES256")
"""Signatures by a private key alone: with `none` or a shared secret anybody could sign."""
MAX_TOKEN_CHARS = 8_192
MAX_TENANT_CHARS = 64
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TENANT = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9._@-]{{0,{MAX_TENANT_CHARS - 1}}})")
_ACTOR_CHARS = 64


class BadToken(Exception):
    """A token that is not taken; says why, for its owner."""


class Expired(BadToken):
    """It was right once."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a token is of, and for how long."""

    tenant: str
    scopes: frozenset[KeyScope]
    actor: str
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Tokens:
    """Reads the tokens of one issuer."""

    issuer: Issuer
    audience: str
    tenant_claim: str
    scopes_claim: str
    scope_prefix: str
    leeway_s: float

    async def read(self, token: str, now: datetime | None = None) -> Bearer:
        """Whom the token is of. Raises BadToken, and IssuerUnreachable."""
        if len(token) > MAX_TOKEN_CHARS or not is_token(token):
            raise BadToken("it is no signed token")
        try:
            # Looked at before anything is fetched for it, so that garbage costs its sender more than us.
            header = extract_compact(token.encode()).headers()
            key_id = header.get("kid")
            if header.get("alg") not in ALGORITHMS:
                raise BadToken(f"its algorithm is not one of {', '.join(ALGORITHMS)}")
            if not isinstance(key_id, str | None):
                raise BadToken("its key has no proper name")
            keys = await self.issuer.keys(key_id)
            claims = jwt.decode(
                token, keys, algorithms=[*ALGORITHMS], registry=JWSRegistry(algorithms=[*ALGORITHMS])
            ).claims
        except (JoseError, ValueError) as error:
            raise BadToken("its signature is not the issuer's") from error
        return self._bearer(claims, now or datetime.now(UTC))

    def _bearer(self, claims: Mapping[str, Any], now: datetime) -> Bearer:
        audiences = claims.get("aud")
        if claims.get("iss") != self.issuer.name:
            raise BadToken("it is of another issuer")
        if self.audience not in (audiences if isinstance(audiences, list) else [audiences]):
            raise BadToken("it is for another audience")
        ends_at = _instant(claims, "exp")
        if ends_at is None:
            raise BadToken("it has no end")
        if now.timestamp() >= ends_at + self.leeway_s:
            raise Expired("it has expired")
        for claim in ("nbf", "iat"):
            if (begins_at := _instant(claims, claim)) is not None and now.timestamp() < begins_at - self.leeway_s:
                raise BadToken("it is not valid yet")
        tenant, subject = claims.get(self.tenant_claim), claims.get("sub")
        if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
            raise BadToken(f"its claim `{self.tenant_claim}` names no tenant")
        if not isinstance(subject, str) or not subject:
            raise BadToken("it has no subject")
        return Bearer(
            tenant,
            self._scopes(claims.get(self.scopes_claim)),
            f"oidc:{subject[:_ACTOR_CHARS]}",
            datetime.fromtimestamp(ends_at + self.leeway_s, UTC),
        )

    def _scopes(self, claimed: object) -> frozenset[KeyScope]:
        words = claimed.split() if isinstance(claimed, str) else claimed if isinstance(claimed, list) else []
        known = {f"{self.scope_prefix}{scope}": scope for scope in KeyScope}
        return frozenset(known[word] for word in words if isinstance(word, str) and word in known)


def tokens_of(settings: Settings) -> Tokens | None:
    """What the settings say; None where no issuer is set."""
    if settings.oidc_issuer is None or settings.oidc_audience is None:
        return None
    return Tokens(
        Issuer(settings.oidc_issuer, settings.oidc_keys_url),
        settings.oidc_audience,
        settings.oidc_tenant_claim,
        settings.oidc_scopes_claim,
        settings.oidc_scope_prefix,
        settings.oidc_leeway_s,
    )


def is_token(text: str) -> bool:
    """True for what has the form of a signed token; no API key has."""
    return _COMPACT.fullmatch(text) is not None


def _instant(claims: Mapping[str, Any], name: str) -> float | None:
    """Seconds since 1970 that a claim says. Raises BadToken for what is no moment."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise BadToken(f"its claim `{name}` is no moment")
    return float(value)
