"""Debian's Chromium, driven from Python, for tests that look at the dashboard as a person does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.helpers.processes import descendants

ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
]
TIMEOUT_MS = 20_000
BUILD = Path(__file__).resolve().parents[2] / "scripts/web"

expect.set_options(timeout=TIMEOUT_MS)


def chromium() -> str | None:
    """The browser, if this machine has one."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def running_browser() -> Iterator[tuple[Browser, frozenset[int]]]:
    """A browser, and the processes that are this one's children because of it."""
    before = {process.pid for process in descendants(os.getpid())}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        try:
            yield browser, frozenset(process.pid for process in descendants(os.getpid())) - before
        finally:
            browser.close()


@dataclass
class Window:
    """One window of a browser. What the page complains of is kept, and fails the test at its end."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def __call__(self, test_id: str) -> Locator:
        """What carries this `data-testid`."""
        return self.page.get_by_test_id(test_id)

    def open(self, path: str) -> None:
        """Go to a page of the dashboard."""
        self.page.goto(path)

    def until(self, test_id: str, **attributes: str) -> Locator:
        """What carries this `data-testid` and these `data-` attributes, when it is there."""
        wanted = "".join(f'[data-{name}="{value}"]' for name, value in attributes.items())
        found = self.page.locator(f'[data-testid="{test_id}"]{wanted}')
        found.first.wait_for(state="attached")
        return found.first

    def until_lines(self, least: int) -> None:
        """When the log that is shown has this many lines; which of them can be seen is another matter."""
        self.page.wait_for_function(
            "least => Number(document.querySelector('[data-testid=logs]')?.dataset.lines) >= least", arg=least
        )

    def run(self, files: dict[str, str], runtime: str = "node", **settings: str) -> str:
        """Put a draft into the page for new workloads, run it, and return the workload's id when it was accepted."""
        self.draft(files, runtime, **settings)
        self("run").click()
        return str(self.until("result").get_attribute("data-workload"))

    def run_once_more(self) -> None:
        """Run what stands in the page for new workloads, and return when its result takes the place of the last one."""
        shown = self("result")
        before = shown.get_attribute("data-workload") if shown.count() else ""
        self("run").click()
        self.page.locator(f'[data-testid="result"]:not([data-workload="{before}"])').wait_for()

    def draft(self, files: dict[str, str], runtime: str = "node", **settings: str) -> None:
        """Open the page for new workloads with these files, as a visit before would have left them."""
        entry = next(iter(files), "")
        draft: dict[str, Any] = {"runtime": runtime, "files": files, "entrypoint": entry, "open": entry, **settings}
        self.page.goto("/nodes")
        self.page.evaluate(
            "draft => { for (const store of [localStorage, sessionStorage])"
            " store.setItem('caisson.draft', JSON.stringify(draft)); }",
            draft,
        )
        self.page.goto("/new")

    def log_text(self) -> str:
        """The whole log, through the button that downloads it."""
        with self.page.expect_download() as download:
            self("log-download").click()
        return Path(download.value.path()).read_text()


Open = Callable[..., Window]


@contextmanager
def window(browser: Browser, url: str, **options: Any) -> Iterator[Window]:
    """A window with nothing kept from others."""
    given = {"viewport": {"width": 1280, "height": 860}, "base_url": url, "reduced_motion": "reduce", **options}
    context = browser.new_context(**given)
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    opened = Window(page, context)
    page.on("pageerror", lambda error: opened.complaints.append(f"error: {error}"))
    page.on("console", lambda said: opened.complaints.append(said.text) if "Content Security" in said.text else None)
    try:
        yield opened
    finally:
        context.close()
    assert opened.complaints == [], opened.complaints
