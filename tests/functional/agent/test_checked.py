"""The agent's own tests in C: under the sanitizers, under valgrind, and with random input for its parsers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.functional.agent.conftest import GUEST

FUZZ_SECONDS = 4
MOST_BYTES = 100 * 1024


def make(target: str, build: Path, *needed: str, **variables: object) -> None:
    """One target, built in a folder of this test; skipped if a tool is missing."""
    for tool in ("make", *needed):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    settings = [f"{name}={value}" for name, value in {"BUILD": build, **variables}.items()]
    done = subprocess.run(["make", "-C", GUEST, target, *settings], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]


def test_the_units_hold_under_address_and_undefined_behaviour_sanitizers(tmp_path: Path) -> None:
    make("check", tmp_path, "cc")


def test_the_units_hold_under_valgrind(tmp_path: Path) -> None:
    make("valgrind", tmp_path, "cc", "valgrind")


def test_no_random_input_breaks_a_parser(tmp_path: Path) -> None:
    probe = (
        subprocess.run(
            ["clang", "-fsanitize=fuzzer", "-x", "c", "-", "-o", tmp_path / "probe"],
            input="int LLVMFuzzerTestOneInput(void);int LLVMFuzzerTestOneInput(void){return 0;}",
            capture_output=True,
            text=True,
            check=False,
        )
        if shutil.which("clang")
        else None
    )
    if probe is None or probe.returncode:
        pytest.skip("clang with its libFuzzer is not installed")
    make("fuzz", tmp_path, FUZZ_SECONDS=FUZZ_SECONDS)


def test_the_agent_is_small(agent: Path) -> None:
    assert agent.stat().st_size <= MOST_BYTES


def test_the_build_for_aarch64_is_small_and_answers(tmp_path: Path) -> None:
    built = GUEST / "build/musl-aarch64"
    if not built.exists() and not Path("/usr/lib/aarch64-linux-musl/libc.a").exists():
        pytest.skip("no musl for aarch64 here: make -C guest musl-aarch64")
    root = built if built.exists() else Path("/")
    make(
        "aarch64",
        tmp_path,
        "aarch64-linux-gnu-gcc",
        MUSL_AARCH64=root / "usr/lib/aarch64-linux-musl",
        MUSL_AARCH64_HEADERS=root / "usr/include/aarch64-linux-musl",
    )
    binary = tmp_path / "aarch64/caisson-agent"
    assert binary.stat().st_size <= MOST_BYTES
    if shutil.which("qemu-aarch64-static") is None:
        pytest.skip("qemu-aarch64-static is not installed, so it was built and not run")
    done = subprocess.run(["qemu-aarch64-static", binary], capture_output=True, text=True, check=False)
    assert "--nonce is missing" in done.stderr
