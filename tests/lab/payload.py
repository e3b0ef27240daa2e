"""What the lab is given of this work tree: the project, its agent, guest images, and Firecracker where there is one."""

from __future__ import annotations

import os
from importlib.metadata import distribution
from pathlib import Path

from tests.lab.image import ROOT, LabUnavailable, payload

IMAGES = ROOT / "build" / "images"
RUNTIMES = ["python", "base"]
KERNELS = ["kernel", "kernel-cloud"]
PROGRAMS = {"firecracker": "CAISSON_FIRECRACKER_BIN", "jailer": "CAISSON_JAILER_BIN"}


def firecracker() -> dict[str, Path]:
    """Firecracker and its jailer, if settings name them or this user's server has fetched them; empty if not.

    As for the server, the jailer is the one beside Firecracker if none is named.
    """
    named = {name: Path(os.environ[variable]) for name, variable in PROGRAMS.items() if variable in os.environ}
    if "firecracker" in named:
        named.setdefault("jailer", named["firecracker"].with_name("jailer"))
    if all(name in named and named[name].is_file() for name in PROGRAMS):
        return named
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "caisson"
    data = Path(os.environ.get("CAISSON_DATA_DIR", data))
    for folder in sorted((data / "programs").glob("firecracker-*")):
        if all((folder / name).is_file() for name in PROGRAMS):
            return {name: folder / name for name in PROGRAMS}
    return {}


def pack(target: Path) -> dict[str, str]:
    """Write the payload; the environment that a server in the lab is to have. Raises LabUnavailable."""
    agent = ROOT / "src/caisson/sandbox/inside/agent"
    if not agent.exists():
        raise LabUnavailable("the guest agent is not built: make setup")
    extra = {str(Path("repo") / agent.relative_to(ROOT)): agent}
    for name in [*RUNTIMES, *KERNELS]:
        current = IMAGES / name / "current"
        if current.exists():
            digest = current.resolve().name
            for file in current.resolve().iterdir():
                # The unpacked root is for gVisor.
                if file.is_file():
                    extra[f"repo/build/images/{name}/{digest}/{file.name}"] = file
            extra[f"repo/build/images/{name}/current"] = current
    own_kernel = os.environ.get("CAISSON_MICROVM_KERNEL")
    if own_kernel:
        extra["kernel"] = Path(own_kernel)
    elif not any(f"repo/build/images/{name}/current" in extra for name in KERNELS):
        raise LabUnavailable(
            "there is no guest kernel: .venv/bin/caisson images build kernel --images-dir build/images"
        )
    metadata = Path(str(distribution("caisson").locate_file("")))
    (info,) = metadata.glob("caisson-*.dist-info")
    extra[f"metadata/{info.name}"] = info
    programs = firecracker()
    extra |= {f"programs/{name}": path for name, path in programs.items()}
    payload(target, extra)
    environment = {"CAISSON_IMAGES_DIR": "/repo/build/images", "CAISSON_AUTO_DOWNLOAD": "0"}
    environment |= {"CAISSON_MICROVM_KERNEL": "/payload/kernel"} if own_kernel else {}
    return environment | {PROGRAMS[name]: f"/payload/programs/{name}" for name in programs}
