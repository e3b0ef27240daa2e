"""The host driver and the real agent together: files, input, output, errors and ends."""

from __future__ import annotations

import asyncio
import gzip
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from contextlib import aclosing
from pathlib import Path

import pytest

from caisson.errors import StartFailed
from caisson.sandbox.agent import Renewal, renew, run
from caisson.sandbox.contract import Exited, Job, Output
from caisson.sandbox.launch import ENVIRONMENT, Launch, Program
from tests.functional.agent.conftest import USER
from tests.helpers.driving import Drove, agent_channel, drive, drive_agent, job
from tests.helpers.guest import is_root

Run = Callable[[Job, Launch], Drove]
USER_ARGUMENTS = ("--user", f"{USER}:{USER}") if is_root() else ()


@pytest.fixture
def arguments(work: Path) -> tuple[str | Path, ...]:
    """Of an agent with this test's work folder."""
    return ("--work", work, *USER_ARGUMENTS)


@pytest.fixture
def execute(agent: Path, arguments: tuple[str | Path, ...]) -> Run:
    """Runs a job on an agent of its own."""
    return lambda job, launch: drive_agent(agent, arguments, job, launch)


def sh(script: str, **members: object) -> Launch:
    """A shell that runs this."""
    return Launch(argv=("/bin/sh", "-c", script), env=ENVIRONMENT, **members)  # type: ignore[arg-type] # as they are


def archive(path: Path, files: Mapping[str, bytes], folders: tuple[str, ...] = ()) -> Path:
    """A tar.gz of these."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name in folders:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755 if name.endswith(".sh") else 0o600
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(plain.getvalue()))
    return path


def test_files_output_and_exit_code(execute: Run) -> None:
    done = execute(job({"a/b.txt": "text", "empty": b""}), sh("cat a/b.txt; ls -A >&2; exit 3"))
    assert (done.stdout, done.stderr, done.exited) == ("text", "a\nempty\n", Exited(code=3))
    assert done.exit is not None
    assert done.exit.cpu_us is not None


def test_an_archive_arrives_with_folders_modes_and_large_files(execute: Run, tmp_path: Path) -> None:
    big = bytes(range(256)) * 8192
    packed = archive(tmp_path / "a.tgz", {"x/run.sh": b"#!/bin/sh\nwc -c <big", "big": big}, ("x", "nothing"))
    done = execute(job({"over": "1"}, archive=packed), sh("x/run.sh; [ -d nothing ] && cat over"))
    assert done.stdout.split() == [str(len(big)), "1"]


def test_a_thousand_small_files_arrive(execute: Run) -> None:
    done = execute(job({f"d{n % 7}/f{n}": f"{n}" for n in range(1000)}), sh("ls d* | grep -c f"))
    assert done.stdout == "1000\n"


def test_a_damaged_archive_is_a_failed_start(execute: Run, tmp_path: Path) -> None:
    packed = archive(tmp_path / "a.tgz", {"a": b"a" * 10_000})
    packed.write_bytes(packed.read_bytes()[:-9])
    assert isinstance(execute(job(archive=packed), sh("true")).failure, StartFailed)


def test_the_input_is_on_stdin_unless_stdin_is_given(execute: Run) -> None:
    assert execute(job(input={"a": 1}), sh("cat")).stdout == '{"a": 1}'
    assert execute(job(input={"a": 1}, stdin=b"other"), sh("cat")).stdout == "other"
    assert execute(job(input={"a": 1}, stdin=b""), sh("cat")).stdout == ""


def test_megabytes_go_in_and_out_by_credit(execute: Run) -> None:
    data = bytes(range(256)) * 12_000
    done = execute(job(stdin=data), sh("tee copy | cat; wc -c <copy >&2"))
    assert b"".join(event.data for event in done.events if isinstance(event, Output))[: len(data)] == data
    assert done.stderr.strip() == str(len(data))
    assert done.exited == Exited(code=0)


def test_a_program_that_reads_no_input_ends_all_the_same(execute: Run) -> None:
    assert execute(job(stdin=b"x" * 5_000_000), sh("echo out")).exited == Exited(code=0)


def test_the_output_file_is_the_result(execute: Run) -> None:
    done = execute(job(), sh('printf \'{"a": [1]}\' >"$CAISSON_OUTPUT"'))
    assert (done.result, done.exited) == ({"a": [1]}, Exited(code=0))


def test_a_large_output_file_is_the_result(execute: Run) -> None:
    done = execute(job(), sh('(printf [; seq -s, 300000; printf ]) >"$CAISSON_OUTPUT"'))
    assert done.result == list(range(1, 300_001))


def test_an_output_file_that_is_none_is_the_programs_own_failure(execute: Run) -> None:
    done = execute(job(), sh('ln -s /etc/passwd "$CAISSON_OUTPUT"; exit 4'))
    assert (done.raised.kind, done.exited) == ("InvalidOutput", Exited(code=4))


def test_environment_arguments_and_delivered_programs(execute: Run) -> None:
    program = Program("bin/mine", b'#!/bin/sh\necho "$K:$1"\n')
    launch = Launch(argv=("bin/mine", "a b"), env={**ENVIRONMENT, "K": "ü"}, programs=(program,))
    assert execute(job(), launch).stdout == "ü:a b\n"


def test_a_signal_is_told(execute: Run) -> None:
    assert execute(job(), sh("kill -9 $$")).exited == Exited(signal=9)


def test_a_program_the_user_named_and_that_is_not_there_is_invalid(execute: Run) -> None:
    done = execute(job(), Launch(argv=("/no/such",), users_choice=True))
    assert done.raised.kind == "invalid_code"
    assert "No such file" in done.raised.message
    assert done.exited == Exited(code=127)
    assert execute(job(), Launch(argv=("/etc/passwd",), users_choice=True)).exited == Exited(code=126)


def test_a_program_of_ours_that_is_not_there_is_a_failed_start(execute: Run) -> None:
    failure = execute(job(), Launch(argv=("/no/such",))).failure
    assert isinstance(failure, StartFailed)
    assert "No such file" in failure.detail


def test_files_that_do_not_fit_on_the_disk_end_as_disk_full(agent: Path, tmp_path: Path) -> None:
    if not is_root():
        pytest.skip("only root can mount a small disk for it")
    small = Path(tempfile.mkdtemp(prefix="caisson-small-", dir="/dev/shm"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0777", "none", small], check=True)
    try:
        done = drive_agent(agent, ("--work", small, *USER_ARGUMENTS), job({"big": b"x" * 30_000_000}), sh("true"))
    finally:
        subprocess.run(["umount", small], check=True)
        small.rmdir()
    assert (done.raised.kind, done.exited) == ("disk_full", Exited(code=1))


def test_a_slow_reader_slows_the_program_and_loses_nothing(
    agent: Path, arguments: tuple[str | Path, ...], work: Path
) -> None:
    """Nothing is read ahead beyond the windows: the program has not come far when only one event was taken."""
    script = "for n in $(seq 300); do head -c 10000 /dev/zero; echo >>progress; done"

    async def main() -> tuple[int, int]:
        async with agent_channel(agent, *arguments) as channel, aclosing(run(channel, job(), sh(script))) as events:
            total = 0
            async for event in events:
                if not total:
                    await asyncio.sleep(0.3)
                    early = len((work / "progress").read_text())
                total += len(event.data) if isinstance(event, Output) else 0
        return total, early

    total, early = asyncio.run(main())
    assert total == 3_000_000
    assert early < 60


def test_a_copy_renews_itself(agent: Path, arguments: tuple[str | Path, ...]) -> None:
    async def main() -> Drove:
        async with agent_channel(agent, *arguments) as channel:
            await renew(channel, Renewal(entropy=None, set_clock=False, machine_id=None))
            return await drive(channel, job(), sh("echo on"))

    assert asyncio.run(main()).stdout == "on\n"


def test_a_copy_that_cannot_renew_itself_is_a_failed_start(agent: Path, arguments: tuple[str | Path, ...]) -> None:
    async def main() -> None:
        async with agent_channel(agent, *arguments) as channel:
            await renew(channel, Renewal(entropy=None, set_clock=False, machine_id=None, hostname="x" * 64 + "y"))

    with pytest.raises(StartFailed):
        asyncio.run(main())
