"""What this host can do for sandboxes, what it lacks, and the command that adds it."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from caisson.host.cgroup import LIMITING, Hierarchy, hierarchies
from caisson.host.network.host import foreign_drops, lacking
from caisson.host.network.rules import HOST_PREFIX
from caisson.host.process import CommandFailed, run

MIN_FREE_MB = 1024
MIN_OPEN_FILES = 4096
JAIL_TIMEOUT_S = 10


class Verdict(StrEnum):
    """How a check went: fine, works with less, or not there."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and what to do where it is not all it could be."""

    name: str
    verdict: Verdict
    found: str
    fix: str | None = None


async def examine(data_dir: Path, runsc: str = "runsc") -> list[Finding]:
    """Every check, in the order in which they build on each other."""
    return [
        check_platform(),
        check_python(),
        check_user_namespaces(),
        await check_bubblewrap(),
        check_cgroups(),
        await check_network(),
        check_registry_images(),
        check_deno(),
        check_wasmtime(),
        await check_runsc(runsc),
        check_data_dir(data_dir),
        check_open_files(),
        check_kvm(),
    ]


def check_platform() -> Finding:
    """Linux on a processor there are sandboxes for."""
    system, machine = platform.system(), platform.machine()
    found = f"{system} {platform.release()}, {machine}"
    if system != "Linux":
        return Finding("platform", Verdict.MISSING, found, "run the server on Linux; the client runs anywhere")
    if machine not in {"x86_64", "aarch64"}:
        return Finding("platform", Verdict.MISSING, found, "use an x86-64 or 64-bit Arm machine")
    return Finding("platform", Verdict.OK, found)


def check_python() -> Finding:
    """Which Python this is; one that is too old does not get as far as here."""
    return Finding("python", Verdict.OK, platform.python_version())


def check_user_namespaces() -> Finding:
    """May an ordinary user make namespaces? Root may always."""
    name = "user namespaces"
    if _number("/proc/sys/user/max_user_namespaces") == 0:
        return Finding(name, Verdict.MISSING, "the kernel allows none", "sysctl user.max_user_namespaces=100000")
    if os.geteuid() == 0:
        return Finding(name, Verdict.OK, "running as root")
    if _number("/proc/sys/kernel/unprivileged_userns_clone") == 0:
        return Finding(name, Verdict.MISSING, "only root may make them", "sysctl kernel.unprivileged_userns_clone=1")
    if _number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1:
        return Finding(
            name,
            Verdict.LIMITED,
            "AppArmor takes their rights away from programs without a profile",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile for bwrap with `userns`",
        )
    return Finding(name, Verdict.OK, "allowed")


async def check_bubblewrap() -> Finding:
    """The jail of every process: really made once, for a program that is there may still not be allowed to."""
    name, path = "bubblewrap", shutil.which("bwrap")
    if path is None:
        return Finding(name, Verdict.MISSING, "bwrap is not installed", install("bubblewrap"))
    jail = [path, "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/", "/", "--", "/bin/true"]
    try:
        tried = await run(jail, timeout_s=JAIL_TIMEOUT_S, check=False)
    except CommandFailed as error:
        return Finding(
            name, Verdict.MISSING, error.message, "see what stops it: bwrap --unshare-all --ro-bind / / true"
        )
    if tried.code != 0:
        said = tried.stderr.decode("utf-8", "replace").strip() or f"it ended with {tried.code}"
        return Finding(name, Verdict.MISSING, f"makes no jail here: {said}", "allow user namespaces (see above)")
    return Finding(name, Verdict.OK, f"{path} makes jails")


def check_cgroups() -> Finding:
    """Which limits the kernel can keep for this process's sandboxes."""
    return judge_cgroups(hierarchies(_text("/proc/self/mounts"), _text("/proc/self/cgroup")))


def judge_cgroups(found: Iterable[Hierarchy]) -> Finding:
    """As `check_cgroups`, for these hierarchies."""
    usable = {
        name: hierarchy.version
        for hierarchy in found
        if os.access(hierarchy.own, os.W_OK)
        for name in hierarchy.controllers & {*LIMITING}
    }
    told = ", ".join(f"{name} (v{usable[name]})" for name in sorted(usable)) or "none"
    lacking = [name for name in LIMITING if name not in usable]
    if not lacking:
        return Finding("cgroups", Verdict.OK, told)
    return Finding(
        "cgroups",
        Verdict.LIMITED,
        f"writable: {told}; the kernel limits no {', no '.join(lacking)}",
        "run the server as root, or as a systemd service with Delegate=yes",
    )


async def check_network() -> Finding:
    """Networks for workloads; only those that ask for one need it."""
    name = "network"
    if lacks := lacking():
        return Finding(name, Verdict.LIMITED, *lacks)
    try:
        policies = await foreign_drops()
    except CommandFailed as error:
        return Finding(name, Verdict.LIMITED, error.message, "see what stops it: nft list ruleset")
    if policies:
        return Finding(
            name,
            Verdict.LIMITED,
            f"another firewall drops what is forwarded: {', '.join(policies)}",
            f"accept the devices {HOST_PREFIX}* there, in both directions; with Docker: iptables -I DOCKER-USER"
            f" -i {HOST_PREFIX}+ -j ACCEPT; iptables -I DOCKER-USER -o {HOST_PREFIX}+ -j ACCEPT",
        )
    return Finding(name, Verdict.OK, "nftables keeps workloads apart from the host")


def check_registry_images() -> Finding:
    """What fetches and unpacks images for runtime `oci`."""
    missing = [name for name in ("skopeo", "umoci") if shutil.which(name) is None]
    if missing:
        return Finding(
            "registry images", Verdict.LIMITED, f"{' and '.join(missing)} not installed", install(" ".join(missing))
        )
    return Finding("registry images", Verdict.OK, "skopeo and umoci are installed")


def check_deno() -> Finding:
    """The runtime of JavaScript and TypeScript."""
    fix = "pip install deno"
    try:
        from deno import find_deno_bin

        path = find_deno_bin()
    except (ImportError, FileNotFoundError) as error:
        return Finding("deno", Verdict.MISSING, str(error), fix)
    return Finding("deno", Verdict.OK, f"{_package('deno')} at {path}")


def check_wasmtime() -> Finding:
    """The runtime of WebAssembly."""
    found = _package("wasmtime")
    if found is None:
        return Finding("wasmtime", Verdict.MISSING, "the package is not installed", "pip install wasmtime")
    return Finding("wasmtime", Verdict.OK, found)


async def check_runsc(name: str = "runsc") -> Finding:
    """gVisor, for every language; what it can do here shows only when a sandbox boots."""
    path = shutil.which(name)
    if path is None:
        return Finding("runsc", Verdict.LIMITED, f"{name} is not installed: no gvisor", install("runsc"))
    try:
        told = (await run([path, "--version"], timeout_s=JAIL_TIMEOUT_S)).stdout.decode("utf-8", "replace").split()
    except CommandFailed as error:
        return Finding("runsc", Verdict.LIMITED, error.message, install("runsc"))
    if told[:2] != ["runsc", "version"]:
        return Finding("runsc", Verdict.LIMITED, f"{path} does not say that it is runsc", "name it in CAISSON_RUNSC")
    return Finding("runsc", Verdict.OK, f"{told[2]} at {path}")


def check_data_dir(data_dir: Path) -> Finding:
    """A folder to write to, with room."""
    folders = (data_dir.absolute(), *data_dir.absolute().parents)
    existing = next(folder for folder in folders if os.access(folder, os.F_OK))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            "data folder", Verdict.MISSING, f"{existing} is not writable", "set CAISSON_DATA_DIR to a folder of yours"
        )
    free_mb = shutil.disk_usage(existing).free >> 20
    found = f"{data_dir}, {free_mb} MiB free"
    if free_mb < MIN_FREE_MB:
        return Finding("data folder", Verdict.LIMITED, found, f"free at least {MIN_FREE_MB} MiB there")
    return Finding("data folder", Verdict.OK, found)


def check_open_files() -> Finding:
    """Enough file descriptors for many sandboxes and log streams at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{_limit(soft)} (at most {_limit(hard)})"
    if soft != resource.RLIM_INFINITY and soft < MIN_OPEN_FILES:
        return Finding(
            "open files", Verdict.LIMITED, found, f"ulimit -n {MIN_OPEN_FILES}, or LimitNOFILE= in the systemd unit"
        )
    return Finding("open files", Verdict.OK, found)


def check_kvm(device: Path = Path("/dev/kvm")) -> Finding:
    """Hardware virtualisation, for isolations that boot a kernel; whether it works shows only when one boots."""
    if not device.exists():
        return Finding(
            "kvm", Verdict.LIMITED, f"{device} does not exist", "turn on virtualisation (nested, in a virtual machine)"
        )
    if not os.access(device, os.R_OK | os.W_OK):
        return Finding(
            "kvm", Verdict.LIMITED, f"{device} is not for this user", "usermod -aG kvm $USER, then log in again"
        )
    return Finding("kvm", Verdict.OK, f"{device} can be opened")


def install(package: str) -> str:
    """How to install a system package: the command on Debian and Ubuntu, words elsewhere."""
    if shutil.which("apt-get"):
        return f"apt-get install {package}"
    return f"install {package} with this system's package manager"


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None
