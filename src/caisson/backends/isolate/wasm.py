"""wasmtime: WebAssembly with WASI preview 1, in a Python process of its own."""

from __future__ import annotations

from caisson.backends.isolate.guest import Guest
from caisson.errors import Unavailable


async def find_wasmtime() -> Guest:
    raise Unavailable("todo", fix="wait")
