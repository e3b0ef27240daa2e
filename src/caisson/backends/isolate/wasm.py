"""wasmtime: WebAssembly with WASI preview 1, in a Python process of its own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
import sysconfig
from pathlib import Path

from caisson.backends.isolate.guest import (
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

_PACKAGES_TARGET = "/run/caisson/packages"
# -I -S: nothing of the host's Python but its standard library. The worker is imported only to see what it maps.
_PATH = "import sys; sys.dont_write_bytecode = True; sys.path[:0] = [{packages!r}, {harness!r}]; import worker"
_LIST_LIBRARIES = "; print(open('/proc/self/maps').read())"


async def find_wasmtime() -> Guest:
    """The wasmtime that is installed beside this package. Raises Unavailable if there is none that works."""
    spec = importlib.util.find_spec("wasmtime")
    if spec is None or spec.origin is None:
        raise Unavailable("wasmtime is not installed", fix="pip install wasmtime")
    package = real_path(spec.origin).parent
    python = real_path(sys.executable)
    standard_library = real_path(sysconfig.get_path("stdlib"))
    look = _PATH.format(packages=str(package.parent), harness=str(HARNESS_FOLDER)) + _LIST_LIBRARIES
    try:
        maps = await run([str(python), "-I", "-S", "-c", look])
        loaded = {word for word in maps.stdout.decode().split() if word.startswith("/") and ".so" in word}
        shared = await libraries(python, *map(Path, sorted(loaded)))
    except CommandFailed as error:
        raise Unavailable(f"wasmtime does not run: {error}", fix="pip install --force-reinstall wasmtime") from error
    return Guest(
        name="wasmtime",
        version=f"{importlib.metadata.version('wasmtime')} ({platform.python_version()})",
        mounts=(
            Mount(python, str(python)),
            Mount(standard_library, str(standard_library)),
            Mount(package, f"{_PACKAGES_TARGET}/wasmtime"),
            *shared,
            Mount(HARNESS_FOLDER, HARNESS_TARGET),
        ),
        command=lambda nonce, mem_mb: _command(python, nonce, mem_mb),
        data_mb=256,
    )


def _command(python: Path, nonce: str, mem_mb: int) -> list[str]:
    code = _PATH.format(packages=_PACKAGES_TARGET, harness=HARNESS_TARGET) + "; worker.main()"
    return [str(python), "-I", "-S", "-c", code, nonce, CHANNEL_TARGET, str(mem_mb)]
