"""Content negotiation (RFC 9110, section 12.5.1) between the few media types an endpoint can answer with."""

from __future__ import annotations

from collections.abc import Sequence

from caisson.errors import Refusal, Refused


def negotiate(accept: str | None, offers: Sequence[str]) -> str:
    """The offer that `accept` likes best, the first of several alike. Raises Refused (406) if it accepts none."""
    if not accept:
        return offers[0]
    ranges = [_parse_range(text) for text in accept.split(",") if text.strip()]
    quality, best = max(((_quality(offer, ranges), offer) for offer in offers), key=lambda pair: pair[0])
    if quality <= 0:
        choice = " or ".join(offers)
        raise Refused(406, Refusal.NOT_ACCEPTABLE, f"the answer can only be {choice}", member="Accept")
    return best


def _parse_range(text: str) -> tuple[str, float]:
    media_range, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media_range, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return media_range, 0.0
    return media_range, 1.0


def _quality(offer: str, ranges: Sequence[tuple[str, float]]) -> float:
    """What the most specific range that fits says."""
    main = offer.partition("/")[0]
    for wanted in (offer, f"{main}/*", "*/*"):
        for media_range, quality in ranges:
            if media_range == wanted:
                return quality
    return 0.0
