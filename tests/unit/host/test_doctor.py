"""The doctor's verdicts on hosts that are not this one."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

import pytest

from caisson.host import doctor
from caisson.host.cgroup import Hierarchy
from caisson.host.doctor import Verdict


def test_cgroups_that_can_be_written_are_told_with_their_version(tmp_path: Path) -> None:
    found = doctor.judge_cgroups([Hierarchy(2, tmp_path, frozenset({"cpu", "memory", "pids"}), tmp_path)])
    assert (found.verdict, found.found) == (Verdict.OK, "cpu (v2), memory (v2), pids (v2)")


def test_cgroups_that_cannot_be_written_limit_nothing(tmp_path: Path) -> None:
    own = tmp_path / "not there"
    found = doctor.judge_cgroups([Hierarchy(1, tmp_path, frozenset({"memory"}), own)])
    assert found.verdict is Verdict.LIMITED
    assert "no cpu, no memory, no pids" in found.found
    assert found.fix is not None
    assert "Delegate=yes" in found.fix


def test_controllers_may_come_from_several_hierarchies(tmp_path: Path) -> None:
    several = [Hierarchy(1, tmp_path, frozenset({name, "cpuacct"}), tmp_path) for name in ("cpu", "memory", "pids")]
    assert doctor.judge_cgroups([*several, Hierarchy(2, tmp_path, frozenset(), tmp_path)]).verdict is Verdict.OK


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "riscv64")])
def test_a_machine_without_sandboxes_is_missing(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    found = doctor.check_platform()
    assert found.verdict is Verdict.MISSING
    assert found.fix


@pytest.mark.parametrize(
    ("sysctls", "verdict", "fix"),
    [
        ({"/proc/sys/user/max_user_namespaces": 0}, Verdict.MISSING, "user.max_user_namespaces"),
        ({"/proc/sys/kernel/unprivileged_userns_clone": 0}, Verdict.MISSING, "unprivileged_userns_clone=1"),
        ({"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": 1}, Verdict.LIMITED, "AppArmor"),
        ({}, Verdict.OK, None),
    ],
)
def test_what_forbids_user_namespaces_is_named(
    monkeypatch: pytest.MonkeyPatch, sysctls: dict[str, int], verdict: Verdict, fix: str | None
) -> None:
    monkeypatch.setattr(doctor, "_number", sysctls.get)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = doctor.check_user_namespaces()
    assert found.verdict is verdict
    assert fix is None or fix in f"{found.found} {found.fix}"


def test_few_open_files_are_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    found = doctor.check_open_files()
    assert (found.verdict, found.found) == (Verdict.LIMITED, "1024 (at most unlimited)")


def test_a_data_folder_that_is_yet_to_be_made_is_fine_where_it_can_be_made(tmp_path: Path) -> None:
    found = doctor.check_data_dir(tmp_path / "a" / "b")
    assert found.verdict is not Verdict.MISSING
    assert not (tmp_path / "a").exists()


def test_a_file_in_place_of_the_data_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert doctor.check_data_dir(tmp_path / "data").verdict is Verdict.MISSING


def test_a_host_without_kvm_still_has_the_other_isolations(tmp_path: Path) -> None:
    assert doctor.check_kvm(tmp_path / "kvm").verdict is Verdict.LIMITED


def test_other_systems_are_told_in_words_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert doctor.install("bubblewrap") == "install bubblewrap with this system's package manager"
