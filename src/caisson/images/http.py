"""HTTP as images need it: few redirects, none to a less safe place, errors in words, and what a retry may help with."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

import httpx2
import stamina

from caisson import __version__
from caisson.images.errors import DownloadFailed

MAX_REDIRECTS = 5
ATTEMPTS = 6
LONGEST_RETRY_AFTER_S = 120
CONNECT_TIMEOUT_S = 15
SILENCE_TIMEOUT_S = 30
"""How long a server may send nothing."""
_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_FOR_ONE_HOST = {"authorization", "cookie"}


class Passing(DownloadFailed):
    """A failure that another attempt may not meet. `retry_after_s`: how long the server asks to wait."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotThere(DownloadFailed):
    """The server knows nothing of that address."""


class WantsCredentials(DownloadFailed):
    """The server answered 401 or 403. `challenge` is what it said in `WWW-Authenticate`."""

    def __init__(self, message: str, challenge: str | None) -> None:
        super().__init__(message)
        self.challenge = challenge


@asynccontextmanager
async def http_client() -> AsyncIterator[httpx2.AsyncClient]:
    """A client that takes proxies and certificates from the environment, and asks for bytes as they are."""
    timeout = httpx2.Timeout(SILENCE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    headers = {"User-Agent": f"caisson/{__version__}", "Accept-Encoding": "identity"}
    async with httpx2.AsyncClient(timeout=timeout, headers=headers, follow_redirects=False) as client:
        yield client


def retrying() -> AsyncIterable[stamina.Attempt]:
    """Attempts with growing pauses, or those a server asks for: `async for attempt in retrying(): with attempt: …`."""
    return stamina.retry_context(
        on=_pause, attempts=ATTEMPTS, timeout=None, wait_initial=0.2, wait_jitter=0.2, wait_max=10
    )


@asynccontextmanager
async def opened(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    content: bytes | AsyncIterator[bytes] | None = None,
    expected: frozenset[int] = frozenset({200}),
) -> AsyncIterator[httpx2.Response]:
    """The answer to a request, its body yet to be read, after at most MAX_REDIRECTS redirects (GET and HEAD only).

    Raises Passing where another attempt may help, and DownloadFailed for any other status than `expected`.
    """
    sent = dict(headers or {})
    address = checked_url(url)
    for _ in range(MAX_REDIRECTS + 1):
        request = client.build_request(method, address, headers=sent, content=content)
        try:
            response = await client.send(request, stream=True)
        except httpx2.InvalidURL as error:
            raise DownloadFailed(f"{url} is no address: {error}") from error
        except httpx2.TransportError as error:
            raise Passing(f"{address.host} cannot be reached: {told(error)}") from error
        try:
            if method in ("GET", "HEAD") and response.status_code in _REDIRECTS and "location" in response.headers:
                following = redirected(address, response.headers["location"])
                if following.netloc != address.netloc:
                    sent = {name: value for name, value in sent.items() if name.lower() not in _FOR_ONE_HOST}
                address = following
                continue
            if response.status_code not in expected:
                raise refusal(response)
            try:
                yield response
            except httpx2.TransportError as error:
                raise Passing(f"{address.host} broke off: {told(error)}") from error
            return
        finally:
            await response.aclose()
    raise DownloadFailed(f"{url} redirects more than {MAX_REDIRECTS} times")


def checked_url(url: str) -> httpx2.URL:
    """An https address, or an http one. Raises DownloadFailed for anything else."""
    try:
        address = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError, ValueError) as error:
        raise DownloadFailed(f"{url} is no address: {error}") from error
    if address.scheme not in ("https", "http") or not address.host:
        raise DownloadFailed(f"{url} is neither an https nor an http address")
    return address


def redirected(address: httpx2.URL, location: str) -> httpx2.URL:
    """Where a redirect leads; raises DownloadFailed if that is a step down from https, or back into this machine."""
    try:
        following = checked_url(str(address.join(location)))
    except httpx2.InvalidURL as error:
        raise DownloadFailed(f"{address.host} redirects to {location[:200]}, which is no address") from error
    if address.scheme == "https" and following.scheme != "https":
        raise DownloadFailed(f"{address.host} redirects from https to {following.scheme}, which is not followed")
    if is_local(following.host) and not is_local(address.host):
        raise DownloadFailed(f"{address.host} redirects to this machine, which is not followed")
    return following


def is_local(host: str) -> bool:
    """True for names of this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        found = ip_address(host)
    except ValueError:
        return False
    return found.is_loopback or found.is_link_local or found.is_unspecified


def refusal(response: httpx2.Response) -> DownloadFailed:
    """What an unwanted status means, without its body."""
    where, status = f"{response.url.host}{response.url.path}", response.status_code
    if status in _PASSING:
        return Passing(f"{where} answered {status} {response.reason_phrase}", retry_after_s=retry_after_s(response))
    if status in (401, 403):
        message = f"{where} answered {status}: it wants credentials, or others than were given"
        return WantsCredentials(message, response.headers.get("www-authenticate") if status == 401 else None)
    if status in (404, 410):
        return NotThere(f"{where} is not there ({status})")
    return DownloadFailed(f"{where} answered {status} {response.reason_phrase}")


def retry_after_s(response: httpx2.Response) -> float | None:
    """Seconds the server asks to wait, from either form of `Retry-After`."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def told(error: httpx2.TransportError) -> str:
    """A transport error in words; some have none of their own."""
    if isinstance(error, httpx2.ConnectTimeout):
        return f"no connection within {CONNECT_TIMEOUT_S} s"
    if isinstance(error, httpx2.TimeoutException):
        return f"nothing came for {SILENCE_TIMEOUT_S} s"
    return str(error) or type(error).__name__


def _pause(error: Exception) -> bool | float:
    if not isinstance(error, Passing):
        return False
    if error.retry_after_s is None:
        return True
    return error.retry_after_s if error.retry_after_s <= LONGEST_RETRY_AFTER_S else False
