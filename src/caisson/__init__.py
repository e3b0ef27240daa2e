"""Caisson: a self-hosted compute platform that runs code nobody has to trust."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("caisson")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0.0.0"
