"""JavaScript and TypeScript. `code` is taken as TypeScript, of which JavaScript is a part."""

from caisson.model import Runtime
from caisson.sandbox.runtimes.language import Language

_STEMS = ("main", "index", "handler", "mod")
_SUFFIXES = (".ts", ".js", ".mts", ".mjs", ".tsx", ".jsx", ".cts", ".cjs")

NODE = Language(
    runtime=Runtime.NODE,
    code_file="main.ts",
    entry_names=tuple(stem + suffix for stem in _STEMS for suffix in _SUFFIXES),
    suffixes=_SUFFIXES,
    interpreter=("node", "--no-warnings"),
    harness="node.mjs",
)
