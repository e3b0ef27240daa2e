"""Runs hostile programs: on a server in a small world, for two tenants, all at once; or in a jail without a runtime."""

from __future__ import annotations

import asyncio
import base64
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from wasmtime import wat2wasm

from caisson.backends.isolate.backend import IsolateBackend
from caisson.model import Resources, Runtime
from tests.helpers.busybox import busybox_image
from tests.helpers.command import caisson
from tests.helpers.netns import NAME_SERVER, in_namespace, need_namespaces, small_world
from tests.helpers.oci_images import need_oci_tools, push
from tests.helpers.registry import running_registry
from tests.helpers.runs import logs
from tests.helpers.sandboxes import Ran, carry_out, job
from tests.helpers.server import Server, free_port, running_server
from tests.security.hostile.corpus import Ended, Program
from tests.security.hostile.host import Host, host

T = TypeVar("T")

TENANTS = ("a", "b")
NEIGHBOUR_SECRET = f"neighbour-{secrets.token_hex(12)}"
MARK = f"mark-{secrets.token_hex(12)}"
"""What `leave` leaves and `look` looks for."""
ENDED = {"completed", "failed", "killed"}
EVERYTHING = bool(os.environ.get("CAISSON_TEST_ALL"))
LONGEST_S = 1800 if EVERYTHING else 240
AFTERWARDS = {"look", "its_image_afterwards"}
"""Programs that begin when all others have ended, and for another tenant."""


@dataclass
class Place:
    """A server, the host it must protect, and a client for each tenant."""

    server: Server
    host: Host
    isolations: dict[str, dict[str, Any]]
    image: str | None
    keys: dict[str, str]
    namespace: str

    def on_host(self, work: Callable[[httpx2.Client], T], tenant: str = "a") -> T:
        """Do something with a client of a tenant's, on the host."""

        def there() -> T:
            with self.server.client() as http:
                http.headers["X-API-Key"] = self.keys[tenant]
                return work(http)

        return in_namespace(self.namespace, there)

    def reason_against(self, program: Program, isolation: str) -> str | None:
        """Why a program cannot run here, None if it can."""
        backend = self.isolations.get(isolation)
        if backend is None or not backend["available"]:
            return f"{isolation}: {backend['reason'] if backend else 'not loaded'}"
        if program.runtime not in backend["runtimes"] or (program.runtime == "oci" and self.image is None):
            return f"{isolation} runs no {program.runtime} here"
        return None

    def run(self, programs: Iterable[Program], isolation: str) -> dict[str, Ended]:
        """Run them side by side, beside a neighbour with a secret, and return how each ended, by name."""
        neighbour = self.on_host(lambda http: submit(http, isolation, self._neighbour(isolation)), "b")
        rounds: dict[str, list[Program]] = {tenant: [] for tenant in TENANTS}
        for program in programs:
            rounds["b" if Path(program.name).stem in AFTERWARDS else "a"].append(program)
        found: dict[str, Ended] = {}
        for tenant, chosen in rounds.items():
            found |= self._round(chosen, isolation, tenant)
        still = self.on_host(lambda http: http.delete(f"/v1/workloads/{neighbour}"), "b")
        assert still.status_code == 200, f"the neighbour did not live to the end: {still.text}"
        return found

    def _round(self, programs: list[Program], isolation: str, tenant: str) -> dict[str, Ended]:
        def begin(http: httpx2.Client) -> dict[str, str]:
            return {program.name: submit(http, isolation, self._request(program)) for program in programs}

        running = self.on_host(begin, tenant)
        found: dict[str, Ended] = {}

        def follow(http: httpx2.Client) -> None:
            deadline = time.monotonic() + LONGEST_S
            for name, workload_id in running.items():
                while (workload := http.get(f"/v1/workloads/{workload_id}?wait=10").json())["status"] not in ENDED:
                    assert time.monotonic() < deadline, f"{name} has not ended"
                found[name] = ended(http, workload)

        self.on_host(follow, tenant)
        return found

    def _request(self, program: Program) -> dict[str, Any]:
        given: dict[str, Any] = {
            "runtime": program.runtime,
            "network": program.network,
            "resources": program.resources,
            "env": {**self.host.facts, "HOST_NODE": self.server.node_id},
        }
        if not Path(program.name).stem.startswith("look"):
            given["env"]["MARK"] = MARK
        if program.runtime == "wasm":
            return {**given, "code": base64.b64encode(wat2wasm(program.source)).decode()}
        if program.runtime == "oci":
            files = " ".join(f"printf '%s' {quoted(text)} >{name};" for name, text in program.files.items())
            script = f"cd /tmp || exit 99; {files} . ./main.sh"
            return {**given, "image": self.image, "command": ["-c", script]}
        return {**given, "files": program.files}

    def _neighbour(self, isolation: str) -> dict[str, Any]:
        secret = NEIGHBOUR_SECRET
        given: dict[str, Any] = {"env": {"NEIGHBOUR": secret}, "args": [secret], "resources": {"timeout_s": LONGEST_S}}
        if isolation == "isolate":
            code = f"Deno.writeTextFileSync('/tmp/own', '{secret}'); setInterval(() => {{}}, 1000)"
            return {**given, "runtime": "node", "code": code}
        code = f"echo {secret} | tee /tmp/own own >/dev/shm/own; exec -a {secret} sleep 600"
        return {**given, "runtime": "bash", "code": code}


def quoted(text: str) -> str:
    """For the shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def submit(http: httpx2.Client, isolation: str, request: dict[str, Any]) -> str:
    """Hand one in; its id."""
    answer = http.post("/v1/workloads/async", json={"isolation": isolation, **request})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def ended(http: httpx2.Client, workload: dict[str, Any]) -> Ended:
    """All that came out of one that has ended."""
    lines = tuple(line["line"] for line in logs(http, workload["id"]))
    error = workload["error"]
    return Ended(error and error["reason"], lines, "\n".join([*lines, str(workload["output"]), str(error)]))


@contextmanager
def hostile_place(folder: Path, images_dir: Path, **settings: Any) -> Iterator[Place]:
    """A server in a small world of its own, with two tenants; skips where there can be none."""
    need_namespaces()
    if platform.machine() != "x86_64":
        pytest.skip("the programs know the numbers of x86-64's system calls only")
    with ExitStack() as stack:
        world = stack.enter_context(small_world(f"x{os.getpid()}"))
        world.zone.records = {
            "rebound.example": ("10.1.2.3",),
            "loop.example": ("127.0.0.1",),
            "meta.example": ("169.254.169.254",),
        }
        registry = image = None
        with suppress(pytest.skip.Exception):
            if settings["backends"] != "gvisor":
                pytest.skip("no other runs images from registries here")
            need_oci_tools()
            made = busybox_image("root")
            registry = in_namespace(world.host, lambda: stack.enter_context(running_registry(folder / "registry")))
            image = in_namespace(world.host, lambda: push(registry, made, "hostile:1", folder / "layout"))
        keys = {
            name: caisson("keys", "create", "--tenant", name, "--data-dir", folder / "data", cwd=folder).stdout.strip()
            for name in TENANTS
        }
        given = {
            **{"listen": f"0.0.0.0:{free_port()}", "name_servers": NAME_SERVER, "images_dir": str(images_dir)},
            **{"warm_node": 2, "warm_wasm": 1, "warm_python": 2, "warm_bash": 1, "warm_go": 0, "warm_gvisor_node": 0},
            **({"oci_insecure_registries": registry.host} if registry else {}),
        }
        serving = running_server(folder, **{**given, **settings})
        server = in_namespace(world.host, serving.__enter__)
        stack.callback(in_namespace, world.host, lambda: serving.__exit__(None, None, None))
        keeping = host()
        kept = in_namespace(world.host, keeping.__enter__)
        stack.callback(keeping.__exit__, None, None, None)
        place = Place(server, kept, {}, image, keys, world.host)
        found = place.on_host(lambda http: http.get("/v1/backends").json())
        place.isolations = {backend["isolation"]: backend for backend in found}
        yield place


def run_in_jail(backend: IsolateBackend, program: Program, facts: dict[str, str]) -> Ended:
    """Run JavaScript in a jail whose runtime grants everything, as one that is wholly taken over would."""
    guest = backend._guests[Runtime.NODE]

    def command(nonce: str, mem_mb: int) -> list[str]:
        deno, run, *rest = guest.command(nonce, mem_mb)
        return [deno, run, "--allow-all", *(each for each in rest if not each.startswith("--allow"))]

    backend._guests[Runtime.NODE] = replace(guest, command=command)
    try:
        work = job(program.files, env=facts, entrypoint="main.mjs", resources=Resources(timeout_s=20))
        ran = asyncio.run(carry_out(backend, work))
    finally:
        backend._guests[Runtime.NODE] = guest
    return _ended_of(ran)


def _ended_of(ran: Ran) -> Ended:
    text = ran.stdout + ran.stderr
    reason = None
    if ran.timed_out:
        reason = "timeout"
    elif ran.failure is not None:
        reason, text = ran.failure.reason, text + ran.failure.detail
    elif ran.exited.code or ran.exited.signal:
        reason = "exit_nonzero"
    return Ended(reason, tuple(text.splitlines()), text)
