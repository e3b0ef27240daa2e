"""The other pages, and what holds for all of them: accessible, usable on a phone, safe with hostile output."""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import expect

from tests.helpers.browser import Open, Window
from tests.helpers.command import caisson
from tests.helpers.server import Server, free_port

AXE = Path(__file__).resolve().parents[2] / "web/node_modules/axe-core/axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
HOSTILE = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>"
PROGRAM = f"""
console.log({HOSTILE!r});
console.log("\\u001b[31mred\\u001b[0m \\u001b]8;;javascript:window.pwned=1\\u0007link\\u001b]8;;\\u0007 \\u202edloc");
export default () => ({{ html: {HOSTILE!r}, ["<b>key</b>"]: [1, {{ deep: true }}] }});
"""


@pytest.fixture
def done(http: httpx2.Client) -> dict[str, Any]:
    """A workload that ended, with hostile output."""
    spec = {"runtime": "node", "code": PROGRAM, "labels": {"web": "hostile"}}
    answer: dict[str, Any] = http.post("/v1/workloads", json=spec).json()
    assert answer["status"] == "completed"
    return answer


@pytest.fixture
def failed(http: httpx2.Client) -> dict[str, Any]:
    spec = {"runtime": "node", "code": f"console.error({HOSTILE!r}); throw new Error({HOSTILE!r});"}
    answer: dict[str, Any] = http.post("/v1/workloads", json=spec).json()
    return answer


def test_hostile_output_is_text(done: dict[str, Any], failed: dict[str, Any], web: Window) -> None:
    for workload in (done, failed):
        web.open(f"/workloads/{workload['id']}")
        web.until("logs", connection="over")
        web.page.get_by_text(HOSTILE).first.wait_for()
        assert web.page.evaluate("window.pwned") is None
        assert web.page.locator("main img, main script, a[href^=javascript]").count() == 0


def test_an_inline_script_does_not_run(web: Window, http: httpx2.Client) -> None:
    policy = http.get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-" in policy
    web.open("/")
    web("home").wait_for()
    web.page.evaluate(
        "() => { const script = document.createElement('script');"
        " script.textContent = 'window.pwned = 1'; document.body.append(script); }"
    )
    assert web.page.evaluate("window.pwned") is None
    assert len(web.complaints) == 1
    web.complaints.clear()


def pages(done: dict[str, Any], failed: dict[str, Any], workloads: str = "/workloads") -> dict[str, str]:
    """The address of every page, and what is there once it has all it shows."""
    return {
        "/": "workload-row",
        workloads: "workload-row",
        f"/workloads/{done['id']}": "log-line",
        f"/workloads/{failed['id']}": "error",
        "/backends": "host-check",
        "/nodes": "node",
        "/compare": "compare-start",
        "/docs/reference/errors": "docs",
        "/nowhere": "not-found",
        "/new": "editor",
    }


@pytest.mark.parametrize("look", ["dark", "light"])
def test_axe_finds_nothing_and_nothing_is_wider_than_a_phone(
    look: str, done: dict[str, Any], failed: dict[str, Any], open_window: Open
) -> None:
    for width in (1280, 390):
        web = open_window(color_scheme=look, viewport={"width": width, "height": 820}, bypass_csp=True)
        for path, there in pages(done, failed).items():
            web.open(path)
            web(there).first.wait_for()
            if path == "/new" and width == 1280:
                web("run").click()
                web.until("result", status="completed")
            web.page.add_script_tag(path=AXE)
            found = web.page.evaluate(
                "tags => axe.run(document, { runOnly: { type: 'tag', values: tags } })"
                ".then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html + n.failureSummary)]))",
                TAGS,
            )
            assert found == [], (path, width)
            wider = web.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wider == 0, (path, width)


WATCH_FOCUS = """() => {
  const shows = (element) => {
    for (let at = element; at && at !== document.body; at = at.parentElement) {
      const [own, after] = [getComputedStyle(at), getComputedStyle(at, '::after')];
      if (own.outlineStyle !== 'none' && parseFloat(own.outlineWidth) >= 2) return true;
      if (after.content !== 'none' && parseFloat(after.borderTopWidth) >= 2) return true;
    }
    return false;
  };
  window.met = new Map();
  const kinds = 'a[href], button, input, select, textarea, summary, [tabindex], [contenteditable=true]';
  window.controls = () => [...document.querySelectorAll(kinds)]
    .filter((one) => one.tabIndex >= 0 && !one.disabled && one.checkVisibility({ visibilityProperty: true }))
    .filter((one) => one.type !== 'radio' || one.checked);
  document.addEventListener('focusin', (event) => window.met.set(event.target, shows(event.target)));
}"""
UNMET = """() => [...controls()].filter((one) => met.get(one) !== true)
  .map((one) => [met.has(one) ? 'shows no focus' : 'not reached', one.outerHTML.slice(0, 200)])"""


def test_every_control_of_every_page_is_reached_with_the_keyboard_and_shows_it(
    done: dict[str, Any], failed: dict[str, Any], web: Window
) -> None:
    keyboard = web.page.keyboard
    # Not all that other tests ran: each row has controls of its own.
    for path, there in pages(done, failed, workloads="/workloads?label=web").items():
        web.open(path)
        web(there).first.wait_for()
        if path == "/new":
            web("routing").wait_for()
            web("run").click()
            web.until("result", status="completed")
            web.until("logs", connection="over")
        web.page.evaluate(WATCH_FOCUS)
        for key in ("Tab", "Shift+Tab") if path == "/new" else ("Tab",):
            web.page.evaluate("met.clear()")
            for _ in range(web.page.evaluate("controls().length") + 5):
                if path == "/new":
                    keyboard.press("Escape")
                keyboard.press(key)
            assert web.page.evaluate(UNMET) == [], (path, key)


def test_a_label_of_any_length_fits_on_the_page(web: Window, http: httpx2.Client) -> None:
    spec = {"runtime": "node", "code": "0", "labels": {"long": "v" * 200}}
    workload = http.post("/v1/workloads", json=spec).json()["id"]
    web.page.set_viewport_size({"width": 390, "height": 820})
    web.open(f"/workloads/{workload}")
    web.page.get_by_text("long=v").wait_for()
    assert web.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_the_page_for_new_workloads_is_used_without_a_mouse(web: Window) -> None:
    keyboard = web.page.keyboard
    web.draft({"main.ts": "export default () => 1"})
    text = web.page.locator(".cm-content")
    text.focus()
    keyboard.press("Tab")
    expect(text).to_be_focused()
    keyboard.press("Escape")
    keyboard.press("Tab")
    expect(text).not_to_be_focused()
    web("settings-input").focus()
    keyboard.press("ArrowRight")
    web("field-env").wait_for()
    keyboard.press("ArrowLeft")
    web("field-input").wait_for()
    web("isolation-auto").focus()
    keyboard.press("ArrowRight")
    web.page.get_by_test_id("routing").get_by_text("isolate was asked for").wait_for()
    web("file-new").focus()
    keyboard.press("Enter")
    keyboard.type("notes.txt")
    keyboard.press("Escape")
    expect(web("file")).to_have_count(1)
    web("run").focus()
    keyboard.press("Enter")
    web.until("result", status="completed")
    web("result-link").focus()
    keyboard.press("Enter")
    web.until("workload", status="completed")


def test_filters_stand_in_the_address_and_pages_lead_on(web: Window, http: httpx2.Client) -> None:
    for number in range(27):
        http.post("/v1/workloads", json={"runtime": "node", "code": "0", "labels": {"paged": str(number % 2)}})
    web.open("/workloads?label=paged")
    web.page.get_by_test_id("total").get_by_text("27").wait_for()
    expect(web("workload-row")).to_have_count(25)
    web("older").click()
    expect(web("workload-row")).to_have_count(2)
    web("newer").click()
    expect(web("workload-row")).to_have_count(25)
    web("filter-status").select_option("failed")
    web("empty").wait_for()
    assert "status=failed" in web.page.url
    web("filter-clear").click()
    assert "?" not in web.page.url


def test_the_browser_goes_back_through_filters_and_pages(web: Window, http: httpx2.Client) -> None:
    for _ in range(26):
        http.post("/v1/workloads", json={"runtime": "node", "code": "0", "labels": {"back": "1"}})
    web.open("/workloads")
    web("filter-label").fill("back=1")
    web("filter-label").press("Enter")
    expect(web("total")).to_have_text("26")
    web("older").click()
    expect(web("workload-row")).to_have_count(1)
    web.page.go_back()
    expect(web("workload-row")).to_have_count(25)
    web.page.go_forward()
    expect(web("workload-row")).to_have_count(1)
    web("newer").click()
    expect(web("workload-row")).to_have_count(25)
    for _ in range(3):
        web.page.go_back()
    expect(web("filter-label")).to_have_value("")


def test_pages_are_there_when_the_server_is_not(web: Window) -> None:
    """Also those that were not looked at before."""
    pages = {"backends": "BackendsPage", "compare": "ComparePage", "workloads": "WorkloadsPage"}
    web.open("/")
    web.page.wait_for_function(
        """names => { const there = performance.getEntriesByType('resource').map((one) => one.name);
          return names.every((name) => there.some((one) => one.includes(name) && one.endsWith('.js'))); }""",
        arg=list(pages.values()),
    )
    web.page.route("**/*", lambda route: route.abort("connectionrefused"))
    for page in pages:
        web(f"nav-{page}").click()
        web.page.get_by_role("heading", level=1).wait_for()
        assert web("page-error").count() == 0


def test_what_the_server_has_not_said_is_not_claimed(web: Window) -> None:
    """A page that cannot be filled says so, rather than that there is nothing."""
    web.page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    web.open("/")
    web("offline").wait_for()
    web("recent").get_by_text("Not known").wait_for()
    web("pools").get_by_text("Not known").wait_for()
    assert web.page.get_by_text("Nothing was").or_(web.page.get_by_text("nobody waits")).count() == 0
    web.open("/compare")
    web.page.get_by_text("It cannot be read").wait_for()
    assert web.page.get_by_text("Nothing was").count() == 0
    web.open("/workloads")
    web("list-error").get_by_text("The server does not answer").wait_for()
    assert web("empty").count() == 0
    web.open("/new")
    web("routing").get_by_text("Where it would run is not known").wait_for()


def test_a_list_shows_new_workloads_and_their_ends_by_itself(web: Window, http: httpx2.Client) -> None:
    web.open("/workloads")
    web.until("connection", connection="live")
    code = "await new Promise((r) => setTimeout(r, 400))"
    workload = http.post("/v1/workloads/async", json={"runtime": "node", "code": code}).json()["id"]
    web.until("workload-row", id=workload)
    web.until("workload-row", id=workload, status="completed")


def test_a_workload_can_be_run_again_and_edited(done: dict[str, Any], web: Window) -> None:
    web.open(f"/workloads/{done['id']}")
    web("run-again").click()
    web.page.wait_for_url(lambda url: re.search(r"/workloads/\w+$", url) is not None and done["id"] not in url)
    web.until("workload", status="completed")
    web("edit-and-run").click()
    web.page.locator(".cm-content", has_text="onerror").wait_for()
    web("settings-labels").click()
    assert web("field-labels").input_value() == "web=hostile"


def test_run_again_and_the_output_keep_every_digit(web: Window, http: httpx2.Client) -> None:
    code = "import fs from 'node:fs'; fs.writeFileSync(process.env.CAISSON_OUTPUT, fs.readFileSync(0));"
    spec = json.dumps({"runtime": "node", "code": code})[:-1] + ', "input": [12345678901234567891, 1.0]}'
    answer = http.post("/v1/workloads", content=spec, headers={"Content-Type": "application/json"})
    assert "12345678901234567891" in answer.text
    before = answer.json()["id"]
    for again in (False, True):
        web.page.goto(f"/workloads/{before}")
        if again:
            web("run-again").click()
            web.page.wait_for_url(lambda url: re.search(r"/workloads/\w+$", url) is not None and before not in url)
        web.until("workload", status="completed")
        assert "12345678901234567891" in web("output").inner_text()
        assert "1.0" in web("output").inner_text()
    web("edit-and-run").click()
    web.page.wait_for_url("**/new")
    assert "12345678901234567891" in web("field-input").input_value()
    web("settings-code").click()
    assert "12345678901234567891" in web("snippet-text").inner_text()


def test_code_that_came_as_an_archive_is_not_kept_and_the_page_says_so(web: Window, http: httpx2.Client) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("main.js")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"1"))
    archive = base64.b64encode(buffer.getvalue()).decode()
    made = http.post("/v1/workloads", json={"runtime": "node", "code_archive": archive}).json()
    web.open(f"/workloads/{made['id']}")
    web("run-again").click()
    web.page.get_by_text("came as an archive, which the server does not keep").wait_for()
    web("edit-and-run").click()
    web("trouble").get_by_text("came as an archive").wait_for()


def test_backends_and_nodes_show_what_the_server_says(web: Window, http: httpx2.Client) -> None:
    web.open("/backends")
    for backend in http.get("/v1/backends").json():
        web.until("backend", isolation=backend["isolation"], available=str(backend["available"]).lower())
    for check in http.get("/v1/doctor").json():
        web.until("host-check", name=check["name"], verdict=check["verdict"])
    web.open("/nodes")
    web.until("node", id=http.get("/v1/nodes").json()[0]["id"])


@pytest.mark.timeout(180)
def test_a_comparison_shows_its_figures_and_gives_them_out(web: Window) -> None:
    web.draft({"main.ts": "export default () => 1"})
    web("run").wait_for()
    web("nav-compare").click()
    web("compare-what").select_option("draft")
    web("compare-runs").fill("2")
    web("compare-clients").fill("none")
    web("compare-start").click()
    web("compare").get_by_text("1 to 64").wait_for()
    web("compare-clients").fill("1")
    web("compare-start").click()
    web.page.locator('[data-testid="benchmark"]').wait_for()
    web.page.locator('[data-testid="benchmark"][data-status="completed"]').wait_for(timeout=150_000)
    web("measure-round_trip").first.wait_for()
    assert "caisson bench" in web("benchmark").inner_text()
    assert web("compare-runs").input_value() == "2"
    for test_id, begin in (("export-csv", "benchmark,program"), ("export-json", "{")):
        with web.page.expect_download() as download:
            web(test_id).click()
        assert Path(download.value.path()).read_text().startswith(begin)
    web("compare-what").select_option("suite")
    web("compare-start").click()
    web.until("benchmark", status="running")
    web("compare-now").get_by_text(" on ").wait_for()
    web("compare-cancel").click()
    web.until("benchmark", status="cancelled")
    web("history-entry").nth(1).wait_for()
    web("history-entry").get_by_text("node workload").first.click()
    web.until("benchmark", status="completed")


def test_where_keys_are_needed_the_page_asks_for_one(
    open_window: Open, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    made = caisson("keys", "create", "--scope", "admin", "--data-dir", tmp_path / "server" / "data", cwd=tmp_path)
    port = free_port()
    start_server(listen=f"0.0.0.0:{port}")
    web = open_window(f"http://127.0.0.1:{port}")
    web.open("/nodes")
    web("key").fill("wrong")
    web("key-enter").click()
    web.page.get_by_text("did not take this key").wait_for()
    web("key").fill(made.stdout.strip())
    web("key").press("Enter")
    web("node").wait_for()
    web.until("connection", connection="live")
    web.page.reload()
    web("node").wait_for()
    web("key-forget").click()
    web("key").fill(made.stdout.strip())
    web("key").press("Enter")
    web("node").wait_for()
    web.open("/new")
    web("settings-code").click()
    expect(web("snippet-text")).to_contain_text("Bearer $CAISSON_API_KEY")
    key_id = "_".join(made.stdout.strip().split("_")[:2])
    caisson("keys", "revoke", key_id, "--data-dir", tmp_path / "server" / "data", cwd=tmp_path)
    web("run").click()
    expect(web("key")).to_be_focused()
    web.page.get_by_text("did not take this key").wait_for()
