"""Any image from a registry: its own program, or the one the user names."""

from caisson.model import Runtime
from caisson.sandbox.runtimes.language import Language

OCI = Language(runtime=Runtime.OCI, code_file="", entry_names=(), suffixes=())
