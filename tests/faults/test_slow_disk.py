"""A disk that takes a third of a second for each flush: everything waits for it, nothing fails or is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.runs import events, logs, outcome, run, submit, wait
from tests.helpers.server import Server
from tests.helpers.shim import Shim

FLUSH_US = 300_000
MANY = 24
SHIM = """
static int slowly(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (numbers && numbers[0]) {
        __sync_fetch_and_add(&numbers[1], 1);
        usleep(numbers[0]);
    }
    return real(fd);
}

int fsync(int fd) { return slowly("fsync", fd); }
int fdatasync(int fd) { return slowly("fdatasync", fd); }
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Shim]:
    """Its first number is how long each flush takes, in microseconds; the second counts those that took so long."""
    with closing(Shim(tmp_path, SHIM)) as disk:
        yield disk


def test_on_a_slow_disk_flushes_are_shared_and_nothing_fails_or_is_lost(
    start_server: Callable[..., Server], disk: Shim
) -> None:
    server = start_server(preload=str(disk.path), warm_wasm=0)
    with server.client() as http, ThreadPoolExecutor(MANY) as clients:
        disk[0] = FLUSH_US
        # Whoever waits for the result has it only when it is on disk.
        done = run(http, code="console.log('written'); export default () => 1")
        assert (outcome(done), done["output"]) == (("completed", None), 1)
        assert disk[1] >= 1
        before = disk[1]
        made = list(clients.map(lambda number: submit(http, code=f"export default () => {number}"), range(MANY)))
        assert disk[1] - before < MANY, "those that come together go to disk together"
        assert http.get("/readyz").status_code == 200
        for number, workload_id in enumerate(made):
            ended = wait(http, workload_id)
            assert (outcome(ended), ended["output"]) == (("completed", None), number)
        talkative = submit(http, code="for (let i = 0; i < 5000; i++) console.log(i)")
        said = [data["line"] for kind, data in events(http, talkative) if kind == "line"]
        assert said == [line["line"] for line in logs(http, talkative)] == [str(number) for number in range(5000)]
        last = submit(http, code="await new Promise(() => {})")
    # It dies with the disk at work: what was acknowledged is there.
    server.process.kill()
    server.process.wait()
    disk[0] = 0
    again = start_server(preload=str(disk.path), node_id=server.node_id, warm_wasm=0)
    with again.client() as http:
        listed = http.get("/v1/workloads", params={"limit": 100}).json()["workloads"]
        assert {each["id"] for each in listed} == {str(done["id"]), *made, talkative, last}
        assert http.delete(f"/v1/workloads/{last}").status_code in (200, 409)
