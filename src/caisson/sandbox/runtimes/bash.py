"""Shell scripts, each run by a bash of its own."""

from caisson.model import Runtime
from caisson.sandbox.runtimes.language import Language

BASH = Language(
    runtime=Runtime.BASH,
    code_file="main.sh",
    entry_names=("main.sh", "main.bash", "run.sh", "script.sh"),
    suffixes=(".sh", ".bash"),
)
PROGRAM = "/bin/bash"
