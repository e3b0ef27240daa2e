"""The wall clock jumps by an hour, forwards and back, while workloads run: nobody notices but who reads the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.runs import events, logs, outcome, run, submit, wait
from tests.helpers.server import Server
from tests.helpers.shim import Shim

HOUR_S = 3_600
# Everything else a process knows the time by stays true: the vDSO is reached through these functions only.
SHIM = """
int clock_gettime(clockid_t id, struct timespec *ts) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, ts);
    if ((id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) && numbers) ts->tv_sec += numbers[0];
    return result;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (at) *at = ts.tv_sec;
    return ts.tv_sec;
}
"""


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Shim]:
    """Its first number is added to a server's wall clock, in seconds."""
    with closing(Shim(tmp_path, SHIM)) as clock:
        yield clock


def created(server: Server, workload_id: str) -> str:
    with server.client() as http:
        return str(http.get(f"/v1/workloads/{workload_id}").json()["created_at"])


def test_nothing_ends_or_hangs_or_is_lost_when_the_clock_jumps(
    start_server: Callable[..., Server], clock: Shim
) -> None:
    server = start_server(preload=str(clock.path), warm_wasm=0, shutdown_grace_s=10)
    code = "console.log('begun'); await new Promise((go) => setTimeout(go, 1500)); console.log('done')"
    with server.client() as http:
        first = run(http, code="export default () => 1")
        made = [str(first["id"])]
        for offset_s in (HOUR_S, -HOUR_S):
            through = submit(http, code=code, resources={"timeout_s": 30})
            next(events(http, through))
            clock[0] = offset_s
            # Begun under one clock and ended under another.
            done = wait(http, through)
            assert outcome(done) == ("completed", None)
            assert 1_000 < done["duration_ms"] < 30_000
            assert [line["line"] for line in logs(http, through)] == ["begun", "done"]
            short = run(http, code="export default () => 2", resources={"timeout_s": 20})
            assert (short["output"], short["timings"]["total_ms"] < 20_000) == (2, True)
            endless = run(http, code="for (;;) {}", resources={"timeout_s": 0.5})
            assert (outcome(endless), endless["duration_ms"] < 20_000) == (("failed", "timeout"), True)
            made += [through, short["id"], endless["id"]]
        assert created(server, made[5]) < created(server, made[0]) < created(server, made[2]), "the clock did jump"
        assert made == sorted(made), "ids go on in the order in which they were given"
        listed = http.get("/v1/workloads").json()
        assert [each["id"] for each in listed["workloads"]] == made[::-1]
        waiting = submit(http, code=code)
        next(events(http, waiting))
    # The next start finds itself an hour before what it stored.
    assert server.stop() == 0
    clock[0] = -2 * HOUR_S
    again = start_server(preload=str(clock.path), node_id=server.node_id, warm_wasm=0)
    with again.client() as http:
        assert outcome(wait(http, waiting)) == ("completed", None)
        assert run(http, code="export default () => 3")["output"] == 3
        assert http.get("/v1/workloads").json()["total"] == len(made) + 2
