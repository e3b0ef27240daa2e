"""Python, in an interpreter that waits."""

from caisson.model import Runtime
from caisson.sandbox.runtimes.language import Language

PYTHON = Language(
    runtime=Runtime.PYTHON,
    code_file="main.py",
    entry_names=("main.py", "__main__.py", "app.py", "handler.py", "index.py"),
    suffixes=(".py",),
    # Isolated from PYTHON… variables and the user's site, and without compiled files beside the user's own.
    interpreter=("python3", "-I", "-B"),
    harness="python.py",
)
