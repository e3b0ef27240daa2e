"""Routing: what `auto` chooses, what it refuses, and what it says about it."""

from __future__ import annotations

import pytest

from caisson.engine.routing import EMULATED, route
from caisson.errors import Refused
from caisson.model import Isolation, IsolationChoice, Network, NetworkAllow, Runtime
from caisson.sandbox.contract import Capabilities

AUTO = IsolationChoice.AUTO
JS_AND_WASM = frozenset({Runtime.NODE, Runtime.WASM})
LANGUAGES = frozenset(Runtime) - {Runtime.WASM}
EVERY_NETWORK = frozenset({"none", "egress", "allow"})


def isolate(available: bool = True) -> Capabilities:
    return Capabilities(
        Isolation.ISOLATE, available, reason=None if available else "no bubblewrap", runtimes=JS_AND_WASM
    )


def gvisor(available: bool = True) -> Capabilities:
    return Capabilities(
        Isolation.GVISOR,
        available,
        reason=None if available else "runsc is not installed",
        fix=None if available else "apt-get install runsc",
        runtimes=LANGUAGES,
        networks=EVERY_NETWORK,
    )


def microvm(acceleration: str = "kvm") -> Capabilities:
    return Capabilities(Isolation.MICROVM, True, runtimes=LANGUAGES, networks=EVERY_NETWORK, acceleration=acceleration)


def host(*found: Capabilities) -> dict[Isolation, Capabilities]:
    return {capabilities.isolation: capabilities for capabilities in found}


@pytest.mark.parametrize("runtime", [Runtime.NODE, Runtime.WASM])
def test_auto_runs_javascript_and_wasm_in_an_isolate(runtime: Runtime) -> None:
    chosen = route(runtime, AUTO, "none", host(isolate(), gvisor(), microvm()))
    assert chosen.isolation is Isolation.ISOLATE
    assert runtime in chosen.reason


@pytest.mark.parametrize("runtime", [Runtime.PYTHON, Runtime.GO, Runtime.BASH])
def test_auto_runs_other_languages_in_a_microvm_where_kvm_works(runtime: Runtime) -> None:
    assert route(runtime, AUTO, "none", host(isolate(), gvisor(), microvm())).isolation is Isolation.MICROVM


def test_auto_falls_back_to_gvisor_and_says_why() -> None:
    chosen = route(Runtime.PYTHON, AUTO, "none", host(isolate(), gvisor()))
    assert chosen.isolation is Isolation.GVISOR
    assert "microvm" in chosen.reason


def test_auto_prefers_gvisor_to_an_emulated_machine() -> None:
    assert route(Runtime.PYTHON, AUTO, "none", host(gvisor(), microvm(EMULATED))).isolation is Isolation.GVISOR


def test_auto_uses_an_emulated_machine_only_when_nothing_else_can() -> None:
    chosen = route(Runtime.PYTHON, AUTO, "none", host(gvisor(available=False), microvm(EMULATED)))
    assert chosen.isolation is Isolation.MICROVM
    assert "emulated" in chosen.reason


def test_auto_runs_images_in_gvisor() -> None:
    assert route(Runtime.OCI, AUTO, "none", host(gvisor(), microvm())).isolation is Isolation.GVISOR


def test_a_runtime_nothing_here_can_run_is_refused_with_what_is_missing_and_how_to_get_it() -> None:
    with pytest.raises(Refused) as refused:
        route(Runtime.PYTHON, AUTO, "none", host(isolate(), gvisor(available=False)))
    assert (refused.value.status, refused.value.member) == (422, "runtime")
    assert "runsc is not installed" in refused.value.message
    assert "apt-get install runsc" in refused.value.message


def test_an_isolation_that_can_never_run_the_runtime_is_refused_with_those_that_can() -> None:
    with pytest.raises(Refused) as refused:
        route(Runtime.PYTHON, IsolationChoice.ISOLATE, "none", host(isolate(), gvisor()))
    assert (refused.value.status, refused.value.member) == (422, "isolation")
    assert "gvisor" in refused.value.message


def test_an_isolation_that_is_not_available_is_refused_with_the_reason() -> None:
    with pytest.raises(Refused) as refused:
        route(Runtime.PYTHON, IsolationChoice.GVISOR, "none", host(isolate(), gvisor(available=False)))
    assert (refused.value.status, refused.value.member) == (422, "isolation")
    assert "runsc is not installed" in refused.value.message


def test_a_host_on_which_nothing_works_is_a_503() -> None:
    with pytest.raises(Refused) as refused:
        route(Runtime.NODE, AUTO, "none", host(isolate(available=False)))
    assert refused.value.status == 503
    assert refused.value.retry_after_s
    assert "no bubblewrap" in refused.value.message


@pytest.mark.parametrize("network", ["egress", NetworkAllow(allow=("10.0.0.0/8",))])
def test_auto_passes_over_an_isolation_without_the_network_that_is_wanted(network: Network) -> None:
    assert route(Runtime.NODE, AUTO, network, host(isolate(), gvisor())).isolation is Isolation.GVISOR


def test_a_network_nothing_gives_is_refused_by_its_member() -> None:
    with pytest.raises(Refused) as refused:
        route(Runtime.NODE, IsolationChoice.ISOLATE, "egress", host(isolate()))
    assert (refused.value.status, refused.value.member) == (422, "network")
