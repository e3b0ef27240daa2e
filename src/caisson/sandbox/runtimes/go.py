"""Go, compiled in the sandbox that then runs it."""

from caisson.model import Runtime
from caisson.sandbox.runtimes.language import Language

GO = Language(
    runtime=Runtime.GO,
    code_file="main.go",
    entry_names=("main.go", "handler.go"),
    suffixes=(".go",),
)
BINARY_PATH = ".caisson-program"
"""Where the compiled program lies, below the work folder."""
INPUT_PATH = ".caisson-input.json"
"""Where a compiled function finds its input if its standard input is something else."""
BUILD_SCRIPT = "go-build"
"""In the folder of the guest: compiles what it is told to `$CAISSON_OUTPUT`."""
EXCEPTION_MARK = b"\0exception "
"""Begins an output file that holds, instead of an output, kind, message and trace of what ended a compiled function."""
