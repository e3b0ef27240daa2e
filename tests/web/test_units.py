"""The dashboard's pure parts, its linter, and its weight."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.browser import BUILD


@pytest.mark.timeout(300)
def test_the_linter_and_the_unit_tests_find_nothing(bundle: None) -> None:
    done = subprocess.run([sys.executable, BUILD, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
