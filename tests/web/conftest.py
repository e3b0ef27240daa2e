"""A browser with the dashboard of the shared server, or of another one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.helpers.browser import BUILD, Open, Window, chromium, running_browser, window
from tests.helpers.server import Server


@pytest.fixture(scope="session")
def bundle() -> None:
    """The dashboard, built from what is there now."""
    subprocess.run([sys.executable, BUILD], check=True)


@pytest.fixture(scope="session")
def server(bundle: None, server: Server) -> Server:
    """The shared server, started when the bundle is there: it reads it once."""
    return server


# Not for the whole session: while a browser is driven, its event loop counts as running, and no other can.
@pytest.fixture(scope="module")
def browser_and_processes() -> Iterator[tuple[Browser, frozenset[int]]]:
    if chromium() is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def browser(browser_and_processes: tuple[Browser, frozenset[int]]) -> Browser:
    return browser_and_processes[0]


@pytest.fixture(scope="module")
def other_processes(browser_and_processes: tuple[Browser, frozenset[int]]) -> frozenset[int]:
    """What the leak check leaves out: a browser has processes in store."""
    return browser_and_processes[1]


@pytest.fixture
def open_window(browser: Browser, other_processes: frozenset[int], server: Server) -> Iterator[Open]:
    """Opens windows of the shared server's dashboard, or of the one at `url`; closed at the test's end."""
    with ExitStack() as stack:

        def open_one(url: str = server.url, **options: Any) -> Window:
            return stack.enter_context(window(browser, url, **options))

        yield open_one


@pytest.fixture
def web(open_window: Open) -> Window:
    """One window."""
    return open_window()
