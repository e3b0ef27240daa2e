"""Which isolation runs a workload, and why: a pure decision over what the backends said of this host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from caisson.errors import Refusal, Refused
from caisson.model import Isolation, IsolationChoice, Network, NetworkAllow, Runtime
from caisson.sandbox.contract import Capabilities

_LANGUAGES = (Isolation.MICROVM, Isolation.GVISOR)
PREFERENCE: Mapping[Runtime, tuple[Isolation, ...]] = {
    Runtime.NODE: (Isolation.ISOLATE, Isolation.GVISOR, Isolation.MICROVM),
    Runtime.WASM: (Isolation.ISOLATE,),
    Runtime.PYTHON: _LANGUAGES,
    Runtime.GO: _LANGUAGES,
    Runtime.BASH: _LANGUAGES,
    Runtime.OCI: (Isolation.GVISOR, Isolation.MICROVM),
}
"""The isolations that can run a runtime at all, the one `auto` likes best first."""

EMULATED = "emulated"
RETRY_AFTER_S = 10


@dataclass(frozen=True, slots=True)
class Route:
    """The decision, with its reason for the user."""

    isolation: Isolation
    reason: str


def route(
    runtime: Runtime,
    choice: IsolationChoice,
    network: Network,
    capabilities: Mapping[Isolation, Capabilities],
    least: Isolation | None = None,
) -> Route:
    """Decide; nothing weaker than `least` is chosen.

    Raises Refused: 422 naming the member that makes it impossible here, 503 if no backend works at all.
    """
    if not any(found.available for found in capabilities.values()):
        reasons = "; ".join(f"{name}: {found.reason}" for name, found in sorted(capabilities.items()))
        raise Refused(
            503,
            Refusal.OVERLOADED,
            f"No isolation is available on this host ({reasons or 'no backend is loaded'}). Run `caisson doctor`.",
            retry_after_s=RETRY_AFTER_S,
        )
    if choice is not IsolationChoice.AUTO:
        isolation = Isolation(choice.value)
        if too_weak(isolation, least):
            raise Refused(
                422, Refusal.UNSUPPORTED, f"this tenant's workloads need at least {least}", member="isolation"
            )
        _check(runtime, isolation, network, capabilities, asked=True)
        return Route(isolation, f"{isolation} was asked for")
    return _auto(runtime, network, capabilities, least)


def too_weak(isolation: Isolation, least: Isolation | None) -> bool:
    """True if a tenant that needs at least `least` must not have this one. The model lists them by strength."""
    order = list(Isolation)
    return least is not None and order.index(isolation) < order.index(least)


def options(
    runtime: Runtime, network: Network, capabilities: Mapping[Isolation, Capabilities]
) -> list[tuple[Isolation, Refused | None]]:
    """Every isolation, with the refusal that asking for it would get, if any."""
    found: list[tuple[Isolation, Refused | None]] = []
    for isolation in Isolation:
        try:
            _check(runtime, isolation, network, capabilities, asked=True)
        except Refused as refused:
            found.append((isolation, refused))
        else:
            found.append((isolation, None))
    return found


def _auto(
    runtime: Runtime, network: Network, capabilities: Mapping[Isolation, Capabilities], least: Isolation | None
) -> Route:
    passed_over: list[Refused] = []
    emulated: Isolation | None = None
    for isolation in PREFERENCE[runtime]:
        if too_weak(isolation, least):
            message = f"this tenant's workloads need at least {least}"
            passed_over.append(Refused(422, Refusal.UNSUPPORTED, message, member="runtime"))
            continue
        try:
            found = _check(runtime, isolation, network, capabilities, asked=False)
        except Refused as refused:
            passed_over.append(refused)
            continue
        if found.acceleration == EMULATED:
            # Slow and no security boundary: only when nothing else can, and the backend offers it only if allowed.
            emulated = emulated or isolation
            continue
        return Route(isolation, _because(runtime, isolation, passed_over))
    if emulated is not None:
        return Route(emulated, f"only {emulated}, emulated, can run {runtime} here")
    members = {refused.member for refused in passed_over}
    raise Refused(
        422,
        Refusal.UNSUPPORTED,
        f"Nothing on this host can run {runtime}: " + "; ".join(refused.message for refused in passed_over),
        member=members.pop() if len(members) == 1 else "runtime",
    )


def _because(runtime: Runtime, isolation: Isolation, passed_over: list[Refused]) -> str:
    if not passed_over:
        return f"{runtime} runs best on {isolation}"
    return f"{runtime} runs on {isolation}, because " + "; ".join(refused.message for refused in passed_over)


def _check(
    runtime: Runtime,
    isolation: Isolation,
    network: Network,
    capabilities: Mapping[Isolation, Capabilities],
    *,
    asked: bool,
) -> Capabilities:
    """What `isolation` can do if it can run this; otherwise Refused naming the member at fault."""

    def refuse(member: str, message: str) -> Refused:
        return Refused(422, Refusal.UNSUPPORTED, message, member=member)

    if isolation not in PREFERENCE[runtime]:
        able = ", ".join(PREFERENCE[runtime])
        raise refuse("isolation", f"{isolation} cannot run {runtime}; {able} can")
    member = "isolation" if asked else "runtime"
    found = capabilities.get(isolation)
    if found is None:
        raise refuse(member, f"the {isolation} backend is not loaded; add it to CAISSON_BACKENDS")
    if not found.available:
        fix = f" ({found.fix})" if found.fix else ""
        raise refuse(member, f"{isolation} is not available: {found.reason}{fix}")
    if runtime not in found.runtimes:
        missing = found.missing.get(runtime, f"{isolation} has no {runtime} runtime on this host")
        raise refuse(member, missing)
    kind = "allow" if isinstance(network, NetworkAllow) else network
    if kind not in found.networks:
        raise refuse("network", f"{isolation} gives no network of the kind `{kind}`")
    return found
