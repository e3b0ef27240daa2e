"""Debian's package lists and versions are read as they are meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from caisson.images.packages import installed, upstream

STATUS = """\
Package: zlib1g
Status: install ok installed
Architecture: amd64
Source: zlib (1:1.3.1-1)
Version: 1:1.3.1-1+b1
Description: a library
 Package: not-this

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.37-2
"""


def test_only_what_is_installed_counts_with_its_source(tmp_path: Path) -> None:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    bash, zlib = installed(tmp_path)
    assert (bash.name, bash.version, bash.source, bash.source_version) == ("bash", "5.2.37-2", "bash", "5.2.37-2")
    assert (zlib.name, zlib.version, zlib.source, zlib.source_version) == (
        "zlib1g",
        "1:1.3.1-1+b1",
        "zlib",
        "1:1.3.1-1",
    )


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("3.13.5-2", "3.13.5"),
        ("20.19.2+dfsg-1", "20.19.2"),
        ("5.2.37-2+b5", "5.2.37"),
        ("2:1.24~2", "1.24-2"),
        ("1.24.4-1~deb13u1", "1.24.4"),
        ("1.0", "1.0"),
    ],
)
def test_a_version_is_told_without_what_is_debians(version: str, told: str) -> None:
    assert upstream(version) == told
