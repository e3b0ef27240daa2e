"""Tokens of an OpenID Connect issuer: the right ones are taken, whatever else comes is not."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from caisson.api import issuer as issuer_module
from tests.unit.api.doubles import KNOWN_ID, EngineDouble, KeysDouble, client, make_app

pytestmark = pytest.mark.anyio
ME = "caisson.example"


@dataclass
class IssuerDouble:
    """An issuer on loopback: its address, its keys, and what it was asked."""

    url: str
    keys: dict[str, Any] = field(default_factory=dict)
    described_as: str | None = None
    asked: list[str] = field(default_factory=list)
    down: bool = False

    def sign(
        self, key: str = "rsa", algorithm: str = "RS256", header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        now = int(time.time())
        given: dict[str, Any] = {
            "iss": self.url,
            "aud": ME,
            "sub": "ada",
            "tenant": "a",
            "scope": "caisson:run caisson:read",
        }
        given |= {"iat": now, "exp": now + 60, **claims}
        given = {name: value for name, value in given.items() if value is not None}
        made = {"alg": algorithm, "kid": key, **(header or {})}
        return jwt.encode(made, given, self.keys[key], algorithms=["RS256", "ES256", "RS512", "HS256"])


@contextmanager
def running_issuer() -> Iterator[IssuerDouble]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            double.asked.append(self.path)
            public = [key.as_dict(private=False) for key in double.keys.values() if not isinstance(key, OctKey)]
            secret = [key.as_dict(private=True) for key in double.keys.values() if isinstance(key, OctKey)]
            described = {"issuer": double.described_as or double.url, "jwks_uri": f"{double.url}/keys"}
            body = json.dumps({"keys": public + secret} if self.path == "/keys" else described).encode()
            self.send_response(500 if double.down else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        double = IssuerDouble(f"http://127.0.0.1:{server.server_address[1]}")
        double.keys["rsa"] = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
        double.keys["ec"] = ECKey.generate_key("P-256", {"kid": "ec"})
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def issuer() -> Iterator[IssuerDouble]:
    with running_issuer() as double:
        yield double


@pytest.fixture
def app(issuer: IssuerDouble, tmp_path: Path) -> Callable[..., FastAPI]:
    def make(**settings: Any) -> FastAPI:
        given = {"listen": "0.0.0.0:8080", "oidc_issuer": issuer.url, "oidc_audience": ME, "key_guesses": 0, **settings}
        return make_app(EngineDouble(), tmp_path, KeysDouble(), **given)

    return make


def encoded(header: dict[str, str]) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()


async def ask(app: FastAPI, token: str, method: str = "GET", path: str = "/v1/workloads") -> tuple[int, str]:
    async with client(app, headers={"Authorization": f"Bearer {token}"}) as http:
        answer = await http.request(method, path)
        return answer.status_code, answer.text


async def test_a_right_token_is_of_its_tenant_and_has_its_scopes(
    issuer: IssuerDouble, tmp_path: Path, app: Callable[..., FastAPI]
) -> None:
    engine = EngineDouble()
    settings: dict[str, Any] = {"listen": "0.0.0.0:8080", "oidc_issuer": issuer.url, "oidc_audience": ME}
    served = make_app(engine, tmp_path, KeysDouble(), **settings)
    for token in (issuer.sign(), issuer.sign("ec", "ES256"), issuer.sign(aud=["other", ME])):
        assert (await ask(served, token))[0] == 200
    assert {query.tenant for query in engine.queries} == {"a"}
    assert (await ask(served, issuer.sign(), path="/v1/audit"))[0] == 403
    assert (await ask(served, issuer.sign(scope=["caisson:read"]), "DELETE", "/v1/workloads/x"))[0] == 403
    for scope in ("read", "caisson:everything", None, {"caisson:read": 1}, [["caisson:read"]]):
        assert (await ask(served, issuer.sign(scope=scope)))[0] == 403
    # All of that with one look at the issuer's description and its keys.
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


async def test_claims_that_are_not_right_are_refused(issuer: IssuerDouble, app: Callable[..., FastAPI]) -> None:
    now = time.time()
    served = app(oidc_leeway_s=10)
    wrong: list[dict[str, Any]] = [
        {"iss": "https://other.example"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"exp": None},
        {"exp": now - 11},
        {"exp": "soon"},
        {"exp": True},
        {"nbf": now + 60},
        {"iat": now + 60},
        {"sub": None},
        {"sub": ["ada"]},
        {"tenant": None},
        {"tenant": ["a"]},
        {"tenant": "../a"},
        {"tenant": "x" * 100},
    ]
    for claims in wrong:
        status, text = await ask(served, issuer.sign(**claims))
        assert (status, '"unauthenticated"' in text) == (401, True), claims
    near: list[dict[str, Any]] = [{"exp": now - 5}, {"nbf": now + 5}, {"iat": now + 5}]
    for claims in near:
        assert (await ask(served, issuer.sign(**claims)))[0] == 200, claims


async def test_a_signature_that_proves_nothing_is_refused(issuer: IssuerDouble, app: Callable[..., FastAPI]) -> None:
    served = app()
    token = issuer.sign()
    head, claims, signature = token.split(".")
    issuer.keys["shared"] = OctKey.generate_key(256, {"kid": "shared"})
    with running_issuer() as other:
        other.keys["rsa"] = RSAKey.generate_key(2048, {"kid": "rsa"})
        forged = other.sign(iss=issuer.url)
    # Signed with the public key as if it were a secret that both know.
    confused = f"{encoded({'alg': 'HS256', 'kid': 'rsa'})}.{claims}"
    mac = hmac.digest(issuer.keys["rsa"].as_pem(private=False), confused.encode(), "sha256")
    none = encoded({"alg": "none"})
    for wrong in (
        forged,
        f"{none}.{claims}.",
        f"{none}.{claims}.{signature}",
        f"{head}.{claims}.{signature[:-4]}AAAA",
        f"{head}.{claims[:-2]}AA.{signature}",
        f"{head}.{claims}.",
        issuer.sign("shared", "HS256"),
        f"{confused}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
        issuer.sign("rsa", "RS512"),
        issuer.sign(header={"kid": "ec"}),
        issuer.sign(header={"kid": "unknown"}),
        "a.b.c",
        "e30.e30.e30",
        token + "." + token,
        "x" * 9_000,
    ):
        assert (await ask(served, wrong))[0] == 401, wrong[:80]
    assert (await ask(served, token))[0] == 200


async def test_keys_are_fetched_anew_when_one_is_unknown_and_kept_while_the_issuer_is_down(
    issuer: IssuerDouble, app: Callable[..., FastAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = app()
    assert (await ask(served, issuer.sign()))[0] == 200
    issuer.keys["new"] = RSAKey.generate_key(2048, {"kid": "new"})
    fetched = len(issuer.asked)
    for _ in range(5):
        assert (await ask(served, issuer.sign("new")))[0] == 401, "nobody makes us fetch at will"
    assert len(issuer.asked) == fetched
    monkeypatch.setattr(issuer_module, "AGAIN_S", 0)
    assert (await ask(served, issuer.sign("new")))[0] == 200
    issuer.down = True
    monkeypatch.setattr(issuer_module, "KEEP_S", 0)
    assert (await ask(served, issuer.sign()))[0] == 200
    fresh = app()
    status, text = await ask(fresh, issuer.sign())
    assert (status, '"not_ready"' in text) == (503, True)


async def test_an_issuer_that_says_it_is_another_or_has_weak_keys_is_not_believed(
    issuer: IssuerDouble, app: Callable[..., FastAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer.described_as = "https://other.example"
    assert (await ask(app(), issuer.sign()))[0] == 503
    assert (await ask(app(oidc_keys_url=f"{issuer.url}/keys"), issuer.sign()))[0] == 200
    assert (await ask(app(oidc_keys_url="http://192.0.2.1/keys"), issuer.sign()))[0] == 503, "not without TLS"
    monkeypatch.setattr(issuer_module, "LEAST_RSA_BITS", 4096)
    issuer.described_as = None
    assert (await ask(app(), issuer.sign()))[0] == 401
    assert (await ask(app(), issuer.sign("ec", "ES256")))[0] == 200


async def test_guessed_tokens_bar_their_address_and_expired_ones_do_not(
    issuer: IssuerDouble, app: Callable[..., FastAPI]
) -> None:
    served = app(key_guesses=3)
    good = issuer.sign()
    assert (await ask(served, good))[0] == 200
    for _ in range(5):
        assert (await ask(served, issuer.sign(exp=time.time() - 100)))[0] == 401
    codes = [(await ask(served, issuer.sign(iss="other")))[0] for _ in range(5)]
    assert codes == [401, 401, 401, 429, 429]
    assert (await ask(served, good))[0] == 200


async def test_a_stream_ends_when_its_token_does(issuer: IssuerDouble, tmp_path: Path) -> None:
    engine = EngineDouble(hang=True)
    settings: dict[str, Any] = {"listen": "0.0.0.0:8080", "oidc_issuer": issuer.url, "oidc_audience": ME}
    served = make_app(engine, tmp_path, KeysDouble(), **settings, oidc_leeway_s=0)
    token = issuer.sign(tenant="default", exp=time.time() + 2)
    status, text = await ask(served, token, path=f"/v1/workloads/{KNOWN_ID}/logs")
    assert status == 200, text
    assert "event: done" not in text
    assert engine.followers == 0
