"""More than sixty programs that try to get out, to take what is not theirs, or to see others; in every isolation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from caisson.backends.isolate.backend import IsolateBackend
from caisson.images.catalog import Catalog
from tests.helpers.images import TEMPLATES_DIR
from tests.security.hostile.corpus import ISOLATIONS, Program, complaints, corpus
from tests.security.hostile.host import host
from tests.security.hostile.place import (
    EVERYTHING,
    LONGEST_S,
    MARK,
    NEIGHBOUR_SECRET,
    Place,
    hostile_place,
    run_in_jail,
)

IN_MACHINES = {
    *("files/setuid.sh", "kernel/ptrace.py", "channel/forged_end.py", "neighbours/leave.py", "neighbours/look.py"),
}
"""Emulated machines are slow: these alone, unless somebody asks for all."""

pytestmark = pytest.mark.timeout(LONGEST_S + 160)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A server with the isolation that the test is about."""
    isolation = request.node.callspec.params["isolation"]
    images: Catalog = request.getfixturevalue("images")
    settings = {"backends": isolation}
    if isolation == "microvm":
        settings |= {
            "templates_dir": str(TEMPLATES_DIR),
            "microvm_emulation": "true",
            "start_timeout_s": "180",
            "max_running": "3",
        }
    with hostile_place(tmp_path, images.folder, **settings) as place:
        yield place


def assert_nothing_reached(place: Place, isolation: str, programs: list[Program]) -> None:
    """Run them, and fail with every complaint there is."""
    against = {program.name: place.reason_against(program, isolation) for program in programs}
    able = [program for program in programs if against[program.name] is None]
    if not able:
        pytest.skip(str(next(iter(against.values()))))
    seen = place.run(able, isolation)
    secrets = {"the host's secret": place.host.secret, "its neighbour's": NEIGHBOUR_SECRET}
    wrong = place.host.complaints()
    for program in able:
        kept = secrets | ({"what another one left": MARK} if Path(program.name).stem.startswith("look") else {})
        wrong += complaints(program, isolation, seen[program.name], kept)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("isolation", ["isolate", "gvisor", "microvm"])
def test_no_program_reaches_the_host_or_another_one(place: Place, isolation: str) -> None:
    programs = [program for program in corpus() if isolation in program.expected]
    if isolation == "microvm" and not EVERYTHING:
        programs = [program for program in programs if program.name in IN_MACHINES]
    assert_nothing_reached(place, isolation, programs)


def test_a_runtime_that_is_wholly_taken_over_is_still_in_its_jail(isolate: IsolateBackend) -> None:
    with host() as canaries:
        wrong = []
        for program in corpus():
            if "jail" in program.expected:
                ended = run_in_jail(isolate, program, canaries.facts)
                wrong += complaints(program, "jail", ended, {"the host's secret": canaries.secret})
        wrong += canaries.complaints()
        assert not wrong, "\n".join(wrong)


def test_the_corpus_is_large_and_every_program_says_what_it_is() -> None:
    programs = corpus()
    assert len(programs) >= 60
    assert {isolation for program in programs for isolation in program.expected} == set(ISOLATIONS)
    assert {program.runtime for program in programs} == {"python", "node", "go", "bash", "wasm", "oci"}
    assert [program.name for program in programs if not program.tries.endswith((".",))] == []
