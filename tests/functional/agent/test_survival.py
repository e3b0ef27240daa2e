"""The agent outlives what its programs do to their machine, and is a good init."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caisson.host.cgroup import CgroupError, Limits, node_tree
from caisson.sandbox.protocol import Exit, Field, FrameType, Tag
from tests.functional.agent.conftest import USER
from tests.functional.agent.test_processes import PYTHON
from tests.helpers.guest import Launched, is_root, launched

Launch = Callable[..., Launched]
FORK_BOMB = "b() { b | b & }; b; wait; while :; do b; done"
HOG = "kept = []\nwhile True: kept.append(bytearray(1 << 20))"
FILLER = """
import os
while True:
    fd = os.open("fill", os.O_WRONLY | os.O_CREAT)
    try:
        while True: os.write(fd, bytes(65536))
    except OSError: os.close(fd)
"""
PINGS = 60
MEMORY_BYTES = 96 << 20

pytestmark = pytest.mark.skipif(not is_root(), reason="mounts, control groups and namespaces need root")


@pytest.fixture
def small_disk(work: Path) -> Iterator[None]:
    """The work folder is a disk of one megabyte."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=1m,uid={USER},gid={USER}", "none", work], check=True)
    yield
    subprocess.run(["umount", work], check=True)


@pytest.fixture
def confine() -> Iterator[Callable[[int], None]]:
    """Limits the memory of a process and of all it starts from then on."""
    tree = node_tree(f"test-agent-{os.getpid()}")
    if "memory" not in tree.controllers:
        tree.remove()
        pytest.skip(f"no control of memory here: {tree.missing.get('memory')}")
    group = tree.group("agent")

    def attach(pid: int) -> None:
        group.limit(Limits(mem_bytes=MEMORY_BYTES))
        group.attach(pid)

    yield attach
    for _ in range(100):
        try:
            group.remove()
            break
        except CgroupError:
            signal.sigtimedwait([], 0.01)
    tree.remove()


@pytest.mark.usefixtures("small_disk")
def test_pings_are_answered_while_everything_rages(confine: Callable[[int], None], launch: Launch) -> None:
    """A fork bomb, a memory hog and a full disk at once; afterwards all of it can be ended, and work goes on."""
    agent = launch()
    guest = agent.guest
    guest.shake_hands()
    confine(agent.process.pid)
    guest.start("/bin/sh", "-c", FORK_BOMB, stream=1, limit_pids=80)
    guest.start(PYTHON, "-c", HOG, stream=2)
    guest.start(PYTHON, "-c", FILLER, stream=3)
    exits: dict[int, Exit] = {}
    started: set[int] = set()
    answered = 0
    guest.send(FrameType.PING, b"0")
    while answered < PINGS or len(started) < 3 or 2 not in exits:  # the hog ends when the kernel ends it
        frame = guest.read()
        if frame.type is FrameType.PONG:
            answered += 1
            guest.send(FrameType.PING, str(answered).encode())
        elif frame.type is FrameType.STARTED:
            started.add(frame.stream)
        elif frame.type is FrameType.EXIT:
            exits[frame.stream] = Exit.decode(frame.payload)
        elif frame.type in (FrameType.STDOUT, FrameType.STDERR):
            guest.credit(len(frame.payload), stream=frame.stream)
    for stream in {1, 2, 3} - exits.keys():
        guest.signal(signal.SIGKILL, stream=stream)
    while len(exits) < 3:
        frame = guest.read()
        if frame.type is FrameType.EXIT:
            exits[frame.stream] = Exit.decode(frame.payload)
    assert {exits[2].signal, exits[3].signal} == {signal.SIGKILL}
    assert guest.run("/bin/echo", "on", stream=4).stdout == b"on\n"


@pytest.fixture
def init(agent: Path) -> Iterator[Launched]:
    """An agent that is process 1 of namespaces of its own; its machine id is a file of this test."""
    machine_id = Path("/etc/machine-id")
    if not machine_id.is_file():
        pytest.skip("this machine has no /etc/machine-id to put another one over")
    # Not below /tmp, which the agent mounts anew.
    work = Path(f"/var/tmp/caisson-agent-{os.getpid()}")
    work.mkdir()
    other_id = work / "other-id"
    other_id.write_text("0\n")
    os.chown(work, USER, USER)
    namespaces: list[str | Path] = ["unshare", "--pid", "--fork", "--mount", "--net", "--uts", "--ipc", "--kill-child"]
    namespaces += ["/bin/sh", "-c", 'mount --bind "$0" /etc/machine-id && exec "$@"', other_id]
    try:
        with launched(agent, "--init", "--work", work, "--user", f"{USER}:{USER}", wrapper=namespaces) as running:
            running.guest.shake_hands()
            yield running
    finally:
        other_id.unlink()
        work.rmdir()


def test_as_init_it_mounts_what_programs_expect(init: Launched) -> None:
    script = "cat /proc/1/comm; cut -d' ' -f2 /proc/mounts; touch /tmp/a /dev/shm/a; echo >/dev/null; ls /proc"
    done = init.guest.run("/bin/sh", "-c", script, stream=1)
    name, *rest = done.stdout.decode().splitlines()
    assert (name, done.stderr) == ("caisson-agent", b"")
    assert {"/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/run", "/tmp"} <= set(rest)
    pids = [int(line) for line in rest if line.isdigit()]
    assert len(pids) <= 3, "it sees processes of its own machine only"


def test_as_init_it_reaps_orphans(init: Launched) -> None:
    orphans = "for n in 1 2 3 4 5; do (setsid sh -c 'exit 3' &) ; done; sleep 0.2"
    init.guest.run("/bin/sh", "-c", orphans, stream=1)
    zombies = "cat /proc/[0-9]*/stat | awk '$3 == \"Z\"' | wc -l"
    assert init.guest.run("/bin/sh", "-c", zombies, stream=2).stdout.strip() == b"0"


def test_a_copy_gets_randomness_a_name_and_an_id_of_its_own(init: Launched) -> None:
    nonce = bytes(reversed(range(16)))
    fields: list[Field] = [
        (Tag.NONCE, nonce),
        (Tag.ENTROPY, os.urandom(64)),
        (Tag.HOSTNAME, "copy-7"),
        (Tag.MACHINE_ID, "1234567890abcdef" * 2),
    ]
    init.guest.send_fields(FrameType.RENEW, fields)
    assert nonce in init.guest.expect(FrameType.RENEWED).payload
    done = init.guest.run("/bin/sh", "-c", "hostname; cat /etc/machine-id", stream=1)
    assert done.stdout.decode().split() == ["copy-7", "1234567890abcdef" * 2]
    assert done.exit is not None
    assert done.exit.oom_kills == 0


def test_its_machine_ends_with_its_host(init: Launched) -> None:
    init.guest.start("/bin/sleep", "1000", stream=1)
    init.guest.expect(FrameType.STARTED, stream=1)
    init.guest.connection.close()
    init.process.wait(10)


def test_nobody_is_init_by_mistake(agent: Path) -> None:
    done = subprocess.run([agent, "--init", "--nonce", "0" * 32], capture_output=True, text=True, check=False)
    assert (done.returncode, "process 1" in done.stderr) == (2, True)
