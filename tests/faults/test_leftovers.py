"""What a dead server left is ended and removed while the next one serves already, and nothing else is touched."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.helpers.runs import submit, wait
from tests.helpers.server import Server, wait_until

MARK = "0123456789abcdef" * 2
FOREIGN = "fedcba9876543210" * 2
FORKING = "while :; do sleep 0.05 & wait; done"


@contextmanager
def running(argv: list[str], **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is certainly over afterwards."""
    with subprocess.Popen(argv, env={"PATH": "/usr/bin:/bin", **env}) as process:
        try:
            yield process
        finally:
            process.kill()


def metric(server: Server, name: str) -> float:
    with server.client() as http:
        lines = http.get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_whatever_bears_a_dead_server_s_mark_is_ended_and_nothing_else(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    runs = tmp_path / "server" / "data" / "node" / "runs"
    runs.mkdir(parents=True)
    (runs / MARK).touch()
    node_dir = runs.parent
    for draft in ("tmp/one/two", "microvm/templates/.making-00", "microvm/disks/.blank-0", "go/.0-1.tmp"):
        (node_dir / draft).mkdir(parents=True)
    (node_dir / "microvm" / "disks" / "kept").touch()
    fifo = tmp_path / "fifo"
    subprocess.run(["mkfifo", fifo], check=True)
    with ExitStack() as stack:
        left = [
            stack.enter_context(running(["sleep", "600"], CAISSON_RUN=MARK)),
            stack.enter_context(running(["sh", "-c", FORKING], CAISSON_RUN=MARK)),
            # Waits for a server that does not come, and has nothing open that could tell whose it is.
            stack.enter_context(running(["sh", "-c", f"cat < {fifo}"], CAISSON_RUN=MARK)),
            # Its environment was emptied on its way.
            stack.enter_context(running(["sh", "-c", "read line < " + str(fifo), f"{MARK}-machine"])),
        ]
        others = [
            stack.enter_context(running(["sleep", "600"], CAISSON_RUN=FOREIGN)),
            stack.enter_context(running(["sleep", "600"], CAISSON_RUN=MARK[:-1])),
            stack.enter_context(running(["sh", "-c", f"read line < {fifo}", MARK])),
        ]
        server = start_server(warm_node=0, warm_wasm=0)
        for process in left:
            process.wait(30)
        wait_until(lambda: metric(server, "caisson_leftovers_removal_seconds") > 0, "the rest to be removed", 30)
        assert metric(server, 'caisson_leftovers_removed_total{kind="process"}') >= len(left)
        assert metric(server, 'caisson_leftovers_removed_total{kind="file"}') == 4
        assert [path.name for path in node_dir.glob("*/*/*") if path.parent.parent.name == "microvm"] == ["kept"]
        assert [process.poll() for process in others] == [None] * len(others)
        assert [path.name for path in runs.iterdir()] != [MARK], "what is done is not done again"
        with server.client() as http:
            assert wait(http, submit(http, code="export default () => 1"))["output"] == 1
        assert server.stop() == 0
    assert list(runs.iterdir()) == []
