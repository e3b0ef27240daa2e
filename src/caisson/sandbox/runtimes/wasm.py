"""WebAssembly: WASI preview 1 command modules."""

from caisson.model import Runtime
from caisson.sandbox.runtimes.language import Language

WASM = Language(
    runtime=Runtime.WASM,
    code_file="main.wasm",
    entry_names=("main.wasm", "index.wasm"),
    suffixes=(".wasm",),
    binary=True,
)
