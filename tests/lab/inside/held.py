"""Holds a micro-VM until it is killed: `held.py VMM FOLDER`; prints a line when the machine is up."""

import asyncio
import sys
from pathlib import Path

from caisson.model import Runtime
from caisson.sandbox.contract import SandboxSpec
from tests.lab.inside.conftest import make_backend
from tests.lab.inside.patience import be_patient


async def main(vmm: str, folder: Path) -> None:
    """Never returns."""
    be_patient()
    backend = make_backend(vmm, "lab-held", folder, microvm_snapshots=False)
    found = await backend.probe()
    assert found.available, found.reason
    async with backend.boot(SandboxSpec(Runtime.BASH, mem_mb=64, disk_mb=64)):
        print("up", flush=True)  # noqa: T201 - whoever started this waits for it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
