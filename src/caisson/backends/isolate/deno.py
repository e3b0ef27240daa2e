"""Deno: JavaScript and TypeScript."""

from __future__ import annotations

from deno import find_deno_bin  # type: ignore[import-untyped,unused-ignore]  # the package carries no types

from caisson.backends.isolate.guest import (
    CACHE_TARGET,
    CHANNEL_TARGET,
    HARNESS_FOLDER,
    HARNESS_TARGET,
    Guest,
    Mount,
    libraries,
    real_path,
)
from caisson.errors import Unavailable
from caisson.host.process import CommandFailed, run

_TARGET = "/bin/deno"
_FLAGS = (
    "--no-prompt",
    "--no-remote",
    "--no-npm",
    "--no-config",
    "--no-lock",
    "--cached-only",
    "--no-code-cache",
    "--quiet",
    # The channel is given up by the harness before user code begins; what is left is the workload's own.
    f"--allow-read=/work,/tmp,{CHANNEL_TARGET},{HARNESS_TARGET}/warm.ts",
    f"--allow-write=/tmp,{CHANNEL_TARGET}",
    "--allow-env",
)
# Compiled TypeScript is cached for the one run: where that fails, Deno tries again for 150 ms.
_ENV = {"DENO_DIR": CACHE_TARGET, "NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1"}


async def find_deno() -> Guest:
    """The Deno that is installed beside this package. Raises Unavailable if there is none that works."""
    try:
        binary = real_path(find_deno_bin())
        version = await run([str(binary), "--version"], timeout_s=20)
        mounts = (Mount(binary, _TARGET), *await libraries(binary), Mount(HARNESS_FOLDER, HARNESS_TARGET))
    except (FileNotFoundError, CommandFailed) as error:
        raise Unavailable(f"Deno does not run: {error}", fix="pip install deno") from error
    return Guest(
        name="deno",
        version=version.stdout.decode().split()[1],
        mounts=mounts,
        command=_command,
        data_mb=640,
        env=_ENV,
        # There is no /proc inside, but `node:process` insists on the path of its own executable.
        links={"/proc/self/exe": _TARGET},
    )


def _command(nonce: str, mem_mb: int) -> list[str]:
    heap = f"--v8-flags=--max-heap-size={mem_mb},--single-threaded-gc"
    return [_TARGET, "run", *_FLAGS, heap, f"{HARNESS_TARGET}/harness.js", nonce, CHANNEL_TARGET]
