"""Control groups: reading the layout of a host, and what is written where, on v1, v2 and both."""

from __future__ import annotations

from pathlib import Path

import pytest

from caisson.host.cgroup import CgroupError, Group, Hierarchy, Limits, Reading, SharedTree, Tree, hierarchies, node_tree

V1_MOUNTS = """tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /cg/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /cg/memory cgroup rw,relatime,memory 0 0
cgroup /cg/systemd cgroup rw,relatime,name=systemd 0 0
proc /proc proc rw 0 0
"""
V1_MEMBERSHIPS = "4:memory:/user/1\n2:cpu,cpuacct:/\n1:name=systemd:/init\n"


def test_v1_hierarchies_are_found_with_their_controllers() -> None:
    """Controllers mounted together are one hierarchy; named ones limit nothing."""
    found = {each.mount: each for each in hierarchies(V1_MOUNTS, V1_MEMBERSHIPS)}
    assert found[Path("/cg/cpu,cpuacct")] == Hierarchy(
        1, Path("/cg/cpu,cpuacct"), frozenset({"cpu", "cpuacct"}), Path("/cg/cpu,cpuacct")
    )
    assert found[Path("/cg/memory")].own == Path("/cg/memory/user/1")
    assert found[Path("/cg/systemd")].controllers == frozenset()


def v2_tree(tmp_path: Path, controllers: str = "cpu memory pids") -> Path:
    """A folder that looks like a v2 group of this process. Unlike in a real one, files must be made by hand."""
    own = tmp_path / "service"
    own.mkdir()
    (own / "cgroup.controllers").write_text(f"cpuset {controllers}\n")
    (own / "cgroup.procs").write_text("")
    (own / "cgroup.subtree_control").write_text(controllers)
    (own / "supervisor").mkdir()
    (own / "caisson-n1").mkdir()
    (own / "caisson-n1" / "cgroup.subtree_control").write_text(controllers)
    return own


def test_v2_is_found_and_hybrid_hosts_have_both(tmp_path: Path) -> None:
    """The v2 group of this process tells which controllers are left to it."""
    own = v2_tree(tmp_path)
    mounts = V1_MOUNTS + f"cgroup2 {tmp_path} cgroup2 rw,nsdelegate 0 0\n"
    found = hierarchies(mounts, V1_MEMBERSHIPS + "0::/service\n")
    assert found[-1] == Hierarchy(2, tmp_path, frozenset({"cpu", "memory", "pids"}), own)
    assert len(found) == 4


def test_a_delegated_v2_group_makes_room_for_children(tmp_path: Path) -> None:
    """This process moves to a group beside the sandboxes', because a v2 group has processes or children, never both."""
    own = v2_tree(tmp_path)
    tree = node_tree("n1", [Hierarchy(2, tmp_path, frozenset({"cpu", "memory", "pids"}), own)])
    assert tree.controllers == {"cpu", "memory", "pids"}
    assert set(tree.parents.values()) == {own / "caisson-n1"}
    assert (own / "supervisor" / "cgroup.procs").read_text().isdigit()
    assert not tree.missing


def test_what_is_not_there_is_reported() -> None:
    """No hierarchy: every limit is missing, with the reason."""
    tree = node_tree("n1", [])
    assert tree.missing.keys() == {"cpu", "memory", "pids"}
    assert tree.controllers == frozenset()
    assert tree.group("a").paths == ()


def test_what_is_not_writable_is_reported(tmp_path: Path) -> None:
    """A hierarchy whose folder cannot be made is told with its path."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    tree = node_tree("n1", [Hierarchy(1, blocked, frozenset({"cpu"}), blocked)])
    assert str(blocked) in tree.missing["cpu"]


def test_limits_in_v2(tmp_path: Path) -> None:
    """Quota per period, memory without swap, processes."""
    for name in ("cpu.max", "memory.max", "memory.swap.max", "pids.max"):
        (tmp_path / name).write_text("max")
    Group(dict.fromkeys(("cpu", "memory", "pids"), tmp_path)).limit(Limits(cpus=0.5, mem_bytes=1 << 20, pids=7))
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {
        "cpu.max": "50000 100000",
        "memory.max": "1048576",
        "memory.swap.max": "0",
        "pids.max": "7",
    }


def test_limits_in_v1(tmp_path: Path) -> None:
    """Quota and period apart; memory in two files, in the order the kernel accepts."""
    for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
        (tmp_path / name).write_text("9223372036854771712")
    Group({"cpu": tmp_path, "memory": tmp_path}).limit(Limits(cpus=2, mem_bytes=1 << 20))
    assert (tmp_path / "cpu.cfs_quota_us").read_text() == "200000"
    assert (tmp_path / "memory.memsw.limit_in_bytes").read_text() == "1048576"


def test_usage_in_v2(tmp_path: Path) -> None:
    """CPU time, peak and kills come from the files that v2 has."""
    (tmp_path / "cpu.stat").write_text("usage_usec 1234\nuser_usec 1000\n")
    (tmp_path / "memory.peak").write_text("4096\n")
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert Group(dict.fromkeys(("cpu", "memory"), tmp_path)).read() == Reading(1234, 4096, 2)


def test_usage_in_v1(tmp_path: Path) -> None:
    """And from those of v1."""
    (tmp_path / "cpuacct.usage").write_text("5000000\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text("8192\n")
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert Group(dict.fromkeys(("cpu", "cpuacct", "memory"), tmp_path)).read() == Reading(5000, 8192, 1)


def test_a_refused_limit_says_which(tmp_path: Path) -> None:
    """The kernel's no becomes an error that names the file."""
    (tmp_path / "pids.max").mkdir()
    with pytest.raises(CgroupError, match=r"pids\.max"):
        Group({"pids": tmp_path}).limit(Limits(pids=1))


def test_a_tree_goes_with_the_last_who_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One who leaves while another still removes what a dead server left in it does not keep that one from it."""
    parent = tmp_path / "caisson-n1"

    def made(name: str) -> Tree:
        parent.mkdir()
        return Tree({"pids": parent})

    monkeypatch.setattr("caisson.host.cgroup.node_tree", made)
    shared = SharedTree("n1")
    for _ in range(2):
        with shared.use() as tree:
            left = tree.group("left")
            with shared.use() as same:
                assert same is tree
            assert parent.exists()
            left.remove()
        assert not parent.exists()
