"""`Accept` is understood as RFC 9110 says."""

from __future__ import annotations

import pytest

from caisson.api.negotiation import negotiate
from caisson.errors import Refusal, Refused

JSON, TEXT = "application/json", "text/plain"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("text/plain", TEXT),
        ("TEXT/Plain; charset=utf-8", TEXT),
        ("text/*", TEXT),
        ("text/html, text/plain;q=0.5, application/json;q=0.4", TEXT),
        ("text/plain;q=0, */*", JSON),
        ("application/*;q=0.1, text/*;q=0.2", TEXT),
        ("text/plain;q=0.5, */*;q=0.5", JSON),
    ],
)
def test_the_best_liked_form_is_chosen(accept: str | None, expected: str) -> None:
    assert negotiate(accept, [JSON, TEXT]) == expected


@pytest.mark.parametrize("accept", ["image/png", "text/plain;q=0", "text/plain;q=x", ";;;", "text"])
def test_what_no_form_satisfies_is_refused(accept: str) -> None:
    with pytest.raises(Refused) as caught:
        negotiate(accept, [TEXT])
    assert (caught.value.status, caught.value.reason) == (406, Refusal.NOT_ACCEPTABLE)
