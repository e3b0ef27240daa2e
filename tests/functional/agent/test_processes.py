"""Programs run as asked: arguments, environment, folder, user, limits, signals, and a true account of their end."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

from caisson.sandbox.protocol import Exit, FrameType
from tests.functional.agent.conftest import USER
from tests.helpers.guest import Ended, Guest, is_root

SH = "/bin/sh"
PYTHON = "/usr/bin/python3"
"""The system's: another one may lie where only its owner may read."""


def code(ended: Ended) -> int | None:
    """Its exit code, which it must have."""
    assert ended.exit is not None, ended
    return ended.exit.code


def test_arguments_arrive_unchanged(guest: Guest) -> None:
    arguments = ("", "two words", "é ☃", "-n", "\\t$HOME`id`", "x" * 10_000)
    done = guest.run(PYTHON, "-c", "import sys; sys.stdout.write('|'.join(sys.argv[1:]))", *arguments, stream=1)
    assert done.stdout.decode() == "|".join(arguments)


def test_the_environment_is_what_was_given_and_nothing_else(guest: Guest) -> None:
    done = guest.run("/usr/bin/env", stream=1, env=("A=1", "B=", "C=x=y", "LANG=é"))
    assert done.stdout.decode().splitlines() == ["A=1", "B=", "C=x=y", "LANG=é"]


def test_a_program_is_looked_for_in_the_path_it_is_given(guest: Guest) -> None:
    guest.send_file("bin/mine", b"#!/bin/sh\necho mine\n", stream=1, mode=0o755)
    assert guest.run("mine", stream=1, env=("PATH=bin",)).stdout == b"mine\n"


def test_the_working_folder_is_the_work_folder_or_one_below(guest: Guest, work: Path) -> None:
    guest.send_file("lib/x", stream=1)
    assert guest.run("/bin/pwd", stream=1).stdout.decode().strip() == str(work)
    assert guest.run("/bin/pwd", stream=2, cwd="lib").stdout.decode().strip() == str(work / "lib")


@pytest.mark.parametrize(
    ("argv", "members", "step", "reason"),
    [
        (("/no/such/program",), {}, "executing the program", "No such file"),
        (("/etc/passwd",), {}, "executing the program", "Permission denied"),
        (("/bin/true",), {"cwd": "nowhere"}, "entering its working folder", "No such file"),
        ((SH, "x" * 200_000), {}, "executing the program", "Argument list too long"),
    ],
)
def test_a_program_that_cannot_start_says_where_and_why(
    guest: Guest, argv: tuple[str, ...], members: dict[str, str], step: str, reason: str
) -> None:
    guest.start(*argv, stream=1, **members)
    error = guest.finish(1)[0].error
    assert error.kind == "spawn"
    assert error.message.startswith(f"{step}: {reason}")
    assert guest.run("/bin/echo", "next", stream=2).stdout == b"next\n"


def test_a_file_that_is_no_program_cannot_start(guest: Guest) -> None:
    guest.send_file("data", b"\0\1\2", stream=1, mode=0o755)
    guest.start("./data", stream=1)
    assert "Exec format error" in guest.finish(1)[0].error.message


@pytest.mark.parametrize("number", [0, 1, 3, 127, 255])
def test_exit_codes_are_reported(guest: Guest, number: int) -> None:
    assert code(guest.run(SH, "-c", f"exit {number}", stream=1)) == number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1, signal.SIGPIPE])
def test_a_signal_from_the_host_ends_a_program(guest: Guest, number: signal.Signals) -> None:
    guest.start("sleep", "1000", stream=1)
    guest.expect(FrameType.STARTED, stream=1)
    guest.signal(number, stream=1)
    ended = guest.finish(1)[0].exit
    assert (ended.signal, ended.code) == (number, None) if ended else False


def test_a_signal_right_after_start_is_not_lost(guest: Guest) -> None:
    for stream in range(1, 30):
        guest.start("sleep", "1000", stream=stream)
        guest.signal(signal.SIGTERM, stream=stream)
    assert [end.exit.signal if end.exit else None for end in guest.finish(*range(1, 30))] == [15] * 29


def test_a_program_may_handle_a_signal(guest: Guest) -> None:
    guest.start(SH, "-c", "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.01; done", stream=1)
    guest.read_until(FrameType.STDOUT, stream=1)
    guest.signal(signal.SIGTERM, stream=1)
    done = guest.finish(1)[0]
    assert (done.stdout, done.exit.code if done.exit else None) == (b"caught\n", 7)


def test_a_signal_reaches_the_whole_process_group(guest: Guest) -> None:
    guest.start(SH, "-c", "sleep 1000 & echo $!; wait", stream=1)
    child = int(guest.read_until(FrameType.STDOUT, stream=1).payload)
    guest.signal(signal.SIGKILL, stream=1)
    guest.finish(1)
    assert ends(child)


def test_what_a_program_leaves_in_the_background_ends_with_it(guest: Guest) -> None:
    done = guest.run(SH, "-c", "sleep 1000 & echo $!", stream=1)
    assert ends(int(done.stdout))


def ends(pid: int) -> bool:
    """True if this process is gone, or goes within a few seconds."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], 5)[0])
    finally:
        os.close(watched)


def test_a_daemon_that_holds_the_pipes_does_not_keep_the_end_back(guest: Guest) -> None:
    script = "setsid sh -c 'echo $$ >pid; exec sleep 1000' & while ! [ -s pid ]; do :; done; echo main ended"
    done = guest.run(SH, "-c", script, stream=1)
    assert (done.stdout, code(done)) == (b"main ended\n", 0)


def test_cpu_time_and_peak_memory_are_reported(guest: Guest) -> None:
    script = (
        "import time; x = bytearray(50_000_000); t = time.process_time()\nwhile time.process_time() < t + 0.2: pass"
    )
    ended = guest.run(PYTHON, "-c", script, stream=1).exit
    assert ended is not None
    assert 200_000 <= (ended.cpu_us or 0) < 5_000_000
    assert 50_000_000 <= (ended.peak_bytes or 0) < 200_000_000
    small = guest.run("/bin/true", stream=2).exit
    assert small is not None
    assert (small.peak_bytes or 0) < 20_000_000


def test_standard_input_arrives_whole_and_ends(guest: Guest) -> None:
    assert guest.run("/usr/bin/wc", "-c", stream=1, stdin=b"x" * 50_000).stdout == b"50000\n"
    assert guest.run("/bin/cat", stream=2).stdout == b""


def test_a_program_that_does_not_read_its_input_ends_all_the_same(guest: Guest) -> None:
    assert code(guest.run("/bin/true", stream=1, stdin=b"x" * 65_536)) == 0


def test_a_program_has_no_descriptors_but_its_own_three(guest: Guest) -> None:
    script = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd')))"
    # The fourth is the listing's own.
    assert guest.run(PYTHON, "-c", script, stream=1).stdout == b"[0, 1, 2, 3]\n"


def test_a_program_begins_like_any_other(guest: Guest) -> None:
    """No signal blocked or ignored, nothing of what protects the agent, and no way to more privileges."""
    status = guest.run("/bin/cat", "/proc/self/status", "/proc/self/oom_score_adj", "/proc/self/stat", stream=1).stdout
    lines = dict(line.split(":\t", 1) for line in status.decode().splitlines() if ":\t" in line)
    assert [int(lines[name], 16) for name in ("SigBlk", "SigIgn", "SigPnd")] == [0, 0, 0]
    assert lines["NoNewPrivs"] == "1"
    assert int(lines["CapEff"], 16) == int(lines["CapPrm"], 16) == 0
    *_, adjustment, stat = status.decode().splitlines()
    assert int(adjustment) >= 0
    assert stat.rpartition(")")[2].split()[16] == "0", "its niceness"
    if is_root():
        assert lines["Uid"].split() == lines["Gid"].split() == [str(USER)] * 4
        assert lines["Groups"].split() in ([], [str(USER)])


def test_a_program_has_a_session_of_its_own(guest: Guest) -> None:
    script = "import os; print(os.getpid() == os.getsid(0) == os.getpgid(0))"
    assert guest.run(PYTHON, "-c", script, stream=1).stdout == b"True\n"


def test_limits_hold(guest: Guest) -> None:
    script = "ulimit -n; ulimit -f; ulimit -c; head -c 2000000 /dev/zero >big; echo $?; wc -c <big"
    done = guest.run(SH, "-c", script, stream=1, limit_nofile=99, limit_fsize=1 << 20)
    files, blocks, cores, status, size = done.stdout.decode().split()
    assert (files, cores, size) == ("99", "0", str(1 << 20))
    assert int(blocks) in (1 << 11, 1 << 10)  # in units of 512 bytes or of 1024, depending on the shell
    assert status != "0"


def test_the_number_of_processes_is_limited_per_user_without_control_groups(guest: Guest) -> None:
    if not is_root():
        pytest.skip("the limit counts all processes of a user, and only root can run programs as one of their own")
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done; wait"
    done = guest.run(SH, "-c", script, stream=1, limit_pids=6)
    assert b"fork" in done.stderr.lower()


def test_a_hundred_programs_run_at_once(guest: Guest) -> None:
    streams = range(1, 101)
    for stream in streams:
        guest.start(SH, "-c", "read line; echo $line; echo err-$line >&2; exit $line", stream=stream)
    for stream in streams:
        guest.send(FrameType.STDIN, f"{stream}\n".encode(), stream=stream)
    ends = guest.finish(*streams)
    assert [end.stdout for end in ends] == [f"{stream}\n".encode() for stream in streams]
    assert [end.stderr for end in ends] == [f"err-{stream}\n".encode() for stream in streams]
    assert [code(end) for end in ends] == list(streams)


def test_places_and_descriptors_are_used_again(guest: Guest) -> None:
    for stream in range(1, 400):
        assert code(guest.run("/bin/true", stream=stream)) == 0


def test_exit_is_the_last_frame_and_comes_once(guest: Guest) -> None:
    done = guest.run(SH, "-c", "echo out; echo err >&2", stream=1)
    assert done.types[0] is FrameType.STARTED
    assert done.types.count(FrameType.EXIT) == 1
    assert isinstance(done.exit, Exit)
    guest.ping()
