"""Write, run and watch, in a real browser with real sandboxes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import expect

from caisson.images.catalog import Catalog
from tests.helpers.browser import Open, Window
from tests.helpers.images import TEMPLATES_DIR
from tests.helpers.server import Server, wait_until

EXAMPLES = ("python", "node", "go", "bash", "wasm")
ONLY_PLAIN = {("gvisor", "node"): "javascript"}
"""Node.js itself knows no TypeScript, so there the example is another."""
COUNTING = (
    "for (let i = 0; i < {lines}; i++) {{ console.log(`line ${{i}}`); await new Promise((r) => setTimeout(r, {ms})); }}"
)
NEVER_ENDING = "console.log('begun'); await new Promise((r) => setTimeout(r, 60_000));"


def metric(http: httpx2.Client, name: str) -> int:
    line = next(line for line in http.get("/metrics").text.splitlines() if line.startswith(f"{name} "))
    return int(float(line.split()[1]))


@pytest.mark.timeout(300)
def test_the_example_of_each_runtime_runs_on_each_isolation_that_can(
    open_window: Open, start_server: Callable[..., Server], images: Catalog
) -> None:
    """Machines run the shell alone: other languages take long where they are emulated, and the page is the same."""
    server = start_server(
        backends="isolate,gvisor,microvm",
        images_dir=images.folder,
        templates_dir=TEMPLATES_DIR,
        microvm_emulation="true",
        warm_microvm_python=0,
        start_timeout_s=60,
    )
    with server.client() as http:
        able = {view["isolation"]: view["runtimes"] for view in http.get("/v1/backends").json()}
    web = open_window(server.url)
    web.open("/new")
    for isolation, runtimes in able.items():
        wanted = {"bash"} if isolation == "microvm" else set(EXAMPLES)
        for runtime in set(runtimes) & wanted:
            web("example").select_option(ONLY_PLAIN.get((isolation, runtime), runtime))
            web(f"isolation-{isolation}").check(force=True)
            web.run_once_more()
            web.until("result", status="completed")
            web.until("logs", connection="over")
            # The module of the example for WebAssembly has no output.
            assert runtime == "wasm" or web("output").inner_text()
    if "bash" in able["microvm"]:
        web("result-link").click()
        assert "Restore" in web("machine").inner_text() or "Boot" in web("machine").inner_text()


def test_several_files_are_one_program(web: Window) -> None:
    web.open("/new")
    web("example").select_option("node-project")
    web("run").click()
    web.until("result", status="completed")
    assert "median: 2.5" in web("output").inner_text()


def test_an_archive_can_be_added_and_taken_out_again(web: Window, tmp_path: Path) -> None:
    archive = tmp_path / "project.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, text in {
            "app/main.ts": "import { n } from './lib/n.ts'; export default () => n;",
            "app/lib/n.ts": "export const n = 42;",
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    web.open("/new")
    web("file-input").set_input_files(archive)
    web.page.locator('[data-testid="file"][data-path="lib/n.ts"]').wait_for()
    with web.page.expect_download() as download:
        web("file-download").click()
    with tarfile.open(download.value.path()) as tar:
        assert sorted(tar.getnames()) == ["lib/n.ts", "main.ts"]
    web("run").click()
    web.until("result", status="completed")
    assert "42" in web("output").inner_text()


def test_files_that_are_no_text_travel_as_an_archive(web: Window, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(range(256)))
    (tmp_path / "main.ts").write_text(
        "import { readFileSync } from 'node:fs';\nexport default () => readFileSync('data.bin').length;"
    )
    web.open("/new")
    web("file-input").set_input_files([tmp_path / "main.ts", tmp_path / "data.bin"])
    web("run").click()
    web.until("result", status="completed")
    assert "256" in web("output").inner_text()


def test_a_log_is_seen_while_its_program_runs_and_a_kill_ends_it(web: Window) -> None:
    web.run({"main.ts": NEVER_ENDING})
    web.page.get_by_text("begun", exact=True).wait_for()
    web.until("result", status="running")
    web("result-kill").click()
    web.until("result", status="killed")
    web.until("logs", connection="over")
    assert web("error").get_attribute("data-reason") == "killed_by_user"


def test_a_reload_in_mid_stream_loses_no_line(web: Window) -> None:
    workload = web.run({"main.ts": COUNTING.format(lines=300, ms=5)})
    web.open(f"/workloads/{workload}")
    web.until_lines(20)
    web.page.reload()
    web.until("logs", connection="over", lines="300")
    assert web.log_text() == "".join(f"line {number}\n" for number in range(300))


def test_a_paused_log_waits_and_counts_what_waits(web: Window) -> None:
    """Also when its program ends meanwhile: what waits then can still be had."""
    web.run({"main.ts": COUNTING.format(lines=1_000_000, ms=10)}, timeoutS="120")
    web.until_lines(3)
    web("log-pause").click()
    web("log-waiting").wait_for()
    web("log-pause").click()
    web("log-waiting").wait_for(state="detached")
    web("log-pause").click()
    web("log-waiting").wait_for()
    web("result-kill").click()
    web.until("result", status="killed")
    lines = int(web.until("logs", connection="over").get_attribute("data-lines") or 0)
    last = web.page.get_by_text(f"line {lines - 1}", exact=True)
    assert last.count() == 0
    web("log-pause").click()
    last.wait_for()
    web("log-pause").wait_for(state="detached")


def test_the_last_line_stays_in_sight_when_the_result_takes_room_from_the_log(web: Window) -> None:
    """The result and the end of the log come in any order, and either moves the other."""
    web.run({"main.ts": "console.log(Array.from({length: 300}, (_, i) => `line ${i}`).join('\\n'));" + NEVER_ENDING})
    web.page.get_by_text("begun", exact=True).wait_for()
    web("result-kill").click()
    web("error").wait_for()
    web.page.wait_for_function(
        """() => {
          const view = document.querySelector('[data-testid=log-scroll]');
          return view.scrollHeight - view.scrollTop - view.clientHeight < 1;
        }"""
    )


def test_searching_a_long_log_finds_lines_that_are_not_in_the_page(web: Window) -> None:
    web.run({"main.ts": "console.log(Array.from({length: 20000}, (_, i) => `line ${i}`).join('\\n'))"})
    web.until("logs", connection="over", lines="20000")
    assert web("log-line").count() < 200
    web("log-search").fill("line 1234")
    web.page.get_by_text("1 of 11").wait_for()
    web.page.locator('[data-testid="log-line"][data-seq="1234"]').wait_for()
    web("log-search").press("Shift+Enter")
    web.page.locator('[data-testid="log-line"][data-seq="12349"]').wait_for()


def test_twenty_workloads_leave_no_stream_open(web: Window, http: httpx2.Client) -> None:
    web.open("/new")
    for _ in range(20):
        before = web("result").get_attribute("data-workload") if web("result").count() else None
        web("run").click()
        web.page.wait_for_function(
            "before => { const r = document.querySelector('[data-testid=result]');"
            " return r && r.dataset.workload !== before && r.dataset.status === 'completed'; }",
            arg=before,
        )
    wait_until(lambda: metric(http, "caisson_log_streams_open") == 0, "the log streams to be closed", 10)
    assert metric(http, "caisson_event_streams_open") == 1
    web.open("about:blank")
    wait_until(lambda: metric(http, "caisson_event_streams_open") == 0, "the stream of changes to be closed", 10)


def test_leaving_the_page_of_a_running_workload_closes_its_stream(web: Window, http: httpx2.Client) -> None:
    workload = web.run({"main.ts": NEVER_ENDING})
    web.until("logs", connection="live")
    wait_until(lambda: metric(http, "caisson_log_streams_open") == 1, "the log to be followed", 10)
    web("nav-workloads").click()
    web.until("workload-row", id=workload, status="running")
    wait_until(lambda: metric(http, "caisson_log_streams_open") == 0, "the log stream to be closed", 10)
    web.page.locator(f'[data-id="{workload}"] [data-testid="row-kill"]').click()
    web.until("workload-row", id=workload, status="killed")


def test_a_trace_leads_to_the_line_in_the_editor(web: Window) -> None:
    web.run({"main.ts": "import './lib/bad.ts';\n", "lib/bad.ts": "\n\nthrow new Error('it broke');\n"})
    web.until("result", status="failed")
    web("error-spot").first.click()
    web.page.locator('[data-testid="tab"][data-path="lib/bad.ts"][aria-pressed="true"]').wait_for()
    web.page.locator(".cm-activeLineGutter", has_text="3").first.wait_for()
    web.page.locator(".cm-lint-marker-error").first.wait_for()


def test_a_trace_in_the_log_marks_its_line_and_leads_there(web: Window) -> None:
    """A run that went on regardless has warnings; they move with the text."""
    noisy = "\nconsole.error(new Error('noted').stack);\n"
    web.run({"main.ts": "import './lib/noisy.ts';\n", "lib/noisy.ts": noisy})
    web.until("result", status="completed")
    web.page.locator('[data-testid="log-line"]', has_text="noisy.ts:2").get_by_text("noisy.ts").first.click()
    web.page.locator('[data-testid="tab"][data-path="lib/noisy.ts"][aria-pressed="true"]').wait_for()
    web.page.locator(".cm-activeLineGutter", has_text="2").first.wait_for()
    web.page.locator(".cm-lint-marker-warning").wait_for()
    web.page.keyboard.press("Control+Home")
    web.page.keyboard.press("Enter")
    web.page.locator(".cm-lintRange-warning", has_text="noted").wait_for()


def test_each_mistake_of_a_compiler_is_marked_where_it_is_and_its_file_says_so(web: Window) -> None:
    """As when it counts bytes and not characters, and names two places in one line."""
    bad = 'package util\n\nfunc F() int { a := "äöü"; return a }\nvar x, y int = "", ""\n'
    main = 'package main\n\nimport "example.com/demo/util"\n\nfunc main() { util.F() }\n'
    mod = "module example.com/demo\n\ngo 1.24\n"
    said = (
        "util/util.go:3:37: cannot use a as int value\n"
        'util/util.go:4:16: cannot use "" as int value\nutil/util.go:4:20: cannot use "" as int value\n'
    )
    # What a compiler says, without one: it needs an image that is not on every machine.
    web.draft(
        {
            "main.ts": f"console.error({said!r}); process.exit(1);",
            "main.go": main,
            "go.mod": mod,
            "util/util.go": bad,
        }
    )
    web("run").click()
    web.until("result", status="failed")
    named = web.page.locator('[data-testid="tab"][data-path="util/util.go"]')
    expect(named).to_contain_text("named by the last run")
    expect(web.page.locator('[data-testid="tab"][data-path="main.go"]')).not_to_contain_text("named")
    web.page.locator('[data-testid="log-line"]', has_text="3:37").get_by_text("util.go").first.click()
    marked = web.page.locator(".cm-lintRange-error")
    expect(marked).to_have_text(["a }", '"", ', '""'])


def test_what_ran_last_stays_while_the_next_cannot_be_sent(web: Window) -> None:
    workload = web.run({"main.ts": "console.log('here')"})
    web.until("result", status="completed")
    web.page.route("**/v1/workloads/async", lambda route: route.abort("connectionrefused"))
    web("run").click()
    web("refusal").get_by_text("does not answer").wait_for()
    web.until("result", workload=workload)
    web.page.get_by_text("here", exact=True).wait_for()


def test_a_log_that_grows_fast_is_seen_all_the_time(web: Window) -> None:
    web.run({"main.ts": "for (let i = 0; ; i++) console.log(`line ${i}`);"}, timeoutS="60")
    web.until_lines(1000)
    fewest = web.page.evaluate(
        """async () => {
          const view = document.querySelector('[data-testid=log-scroll]').getBoundingClientRect();
          const seen = () => [...document.querySelectorAll('[data-testid=log-line]')]
            .map((line) => line.getBoundingClientRect())
            .filter((line) => line.bottom > view.top && line.top < view.bottom).length;
          let fewest = Infinity;
          for (let frame = 0; frame < 60; frame++) {
            await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
            fewest = Math.min(fewest, seen());
          }
          return fewest;
        }"""
    )
    web("result-kill").click()
    assert fewest > 5


def test_what_is_wrong_is_brought_to_light_when_it_is_to_be_run(web: Window) -> None:
    web.draft({"main.ts": "1"}, memMb="8")
    web("run").click()
    expect(web("field-memMb")).to_be_focused()
    web.page.get_by_text("A whole number from 16").wait_for()
    assert web("result").count() == 0


def test_two_tabs_keep_a_draft_each_and_the_last_one_changed_is_for_the_next(web: Window) -> None:
    web.draft({"main.ts": "// one"})
    web.page.locator(".cm-content", has_text="one").wait_for()
    other = web.context.new_page()
    other.goto("/new")
    other.locator(".cm-content").click()
    other.keyboard.press("Control+a")
    other.keyboard.type("// two")
    other.goto("/nodes")
    other.close()
    web.page.reload()
    web.page.locator(".cm-content", has_text="one").wait_for()
    web.open("/nodes")
    third = web.context.new_page()
    third.goto("/new")
    third.locator(".cm-content", has_text="two").wait_for()


def test_a_draft_survives_a_reload_and_tells_of_wrong_input(web: Window) -> None:
    web.open("/new")
    web.page.locator(".cm-content").click()
    web.page.keyboard.press("Control+a")
    web.page.keyboard.type("export default (n) => n * 2")
    web("field-input").fill("[1, 2")
    web.page.get_by_text("line 1, column").wait_for()
    web.page.reload()
    web.page.locator(".cm-content", has_text="n * 2").wait_for()
    assert web("field-input").input_value() == "[1, 2"
    web("field-input").fill("21")
    web("field-input").press("Control+Enter")
    web.until("result", status="completed")
    assert "42" in web("output").inner_text()


def test_files_are_made_renamed_and_thrown_away(web: Window) -> None:
    web.draft({"main.ts": "export default () => 1"})
    web("file-new").click()
    web("file-name").fill("lib/util.ts")
    web("file-name").press("Enter")
    made = web.page.locator('[data-testid="file"][data-path="lib/util.ts"]')
    made.focus()
    made.press("F2")
    web("file-name").fill("lib/tools.ts")
    web("file-name").press("Enter")
    renamed = web.page.locator('[data-testid="file"][data-path="lib/tools.ts"]')
    renamed.focus()
    renamed.press("Delete")
    renamed.wait_for(state="detached")
    assert web("file").count() == 1


def test_what_is_thrown_away_or_replaced_can_be_had_again(web: Window, tmp_path: Path) -> None:
    web.draft({"main.ts": "// mine", "lib/a.ts": "// a", "lib/b.ts": "// b"})
    folder = web("folder").get_by_role("button").first
    folder.focus()
    folder.press("Delete")
    expect(web("file")).to_have_count(1)
    web("undo").click()
    expect(web("file")).to_have_count(3)
    (tmp_path / "main.ts").write_text("// theirs")
    web("file-input").set_input_files(tmp_path / "main.ts")
    web("lost").get_by_text("main.ts was replaced").wait_for()
    web.page.locator(".cm-content", has_text="theirs").wait_for()
    web("undo").click()
    web.page.locator('[data-testid="tab"][data-path="main.ts"]').click()
    web.page.locator(".cm-content", has_text="mine").wait_for()
    web("example").select_option("python")
    web("lost").wait_for()
    web("undo").click()
    web.page.locator(".cm-content", has_text="mine").wait_for()


def test_names_that_cannot_be_are_refused_and_the_keyboard_stays_in_the_list(web: Window) -> None:
    web.draft({"main.ts": "1", "lib/a.ts": "2"})
    keyboard = web.page.keyboard
    file = web.page.locator('[data-testid="file"][data-path="lib/a.ts"]')
    file.focus()
    for wrong, why in (("main.ts", "already"), ("main.ts/x", "is a file"), ("../x", "within the project")):
        if web("file-name").count() == 0:
            keyboard.press("F2")
        web("file-name").fill(wrong)
        keyboard.press("Enter")
        web("file-name-mistake").get_by_text(why).wait_for()
    keyboard.press("Escape")
    expect(file).to_be_focused()
    folder = web("folder").get_by_role("button").first
    folder.focus()
    keyboard.press("F2")
    web("file-name").fill("constructor")
    keyboard.press("Enter")
    moved = web.page.locator('[data-testid="file"][data-path="constructor/a.ts"]')
    moved.wait_for()
    expect(folder).to_be_focused()
    moved.focus()
    keyboard.press("Delete")
    expect(web.page.locator('[data-testid="file"][data-path="main.ts"]')).to_be_focused()


def test_files_and_folders_are_dropped_into_the_list_and_moved_by_dragging(web: Window, tmp_path: Path) -> None:
    (tmp_path / "n.ts").write_text("import data from './data.json' with { type: 'json' }; export const n = () => data;")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "data.json").write_text("43")
    web.draft({"main.ts": "export { n as default } from './more/n.ts'"})
    box = web("files").bounding_box()
    assert box is not None
    given = {"items": [], "files": [str(tmp_path / "n.ts"), str(tmp_path / "more")], "dragOperationsMask": 1}
    browser = web.context.new_cdp_session(web.page)
    for step in ("dragEnter", "dragOver", "drop"):
        at = {"x": box["x"] + 20, "y": box["y"] + box["height"] - 20}
        browser.send("Input.dispatchDragEvent", {"type": step, "data": given, **at})
    web.page.locator('[data-testid="file"][data-path="more/data.json"]').wait_for()
    web.page.locator('[data-testid="file"][data-path="n.ts"]').drag_to(web("folder"))
    web.page.locator('[data-testid="file"][data-path="more/n.ts"]').wait_for()
    web("run").click()
    web.until("result", status="completed")
    assert "43" in web("output").inner_text()


def test_what_auto_would_choose_is_told_as_one_types(web: Window) -> None:
    web.open("/new")
    web.page.get_by_text("node runs best on isolate").wait_for()
    web("runtime").select_option("wasm")
    web("isolation-microvm").check(force=True)
    web.page.get_by_test_id("routing").get_by_text("microvm cannot run wasm").wait_for()


def test_the_server_may_restart_while_a_page_is_open(open_window: Open, start_server: Callable[..., Server]) -> None:
    first = start_server("kept", shutdown_grace_s=0)
    web = open_window(first.url)
    workload = web.run({"main.ts": COUNTING.format(lines=100_000, ms=5)})
    web.open(f"/workloads/{workload}")
    web.until_lines(20)
    assert first.stop() == 0
    web("offline").wait_for()
    start_server("kept", listen=first.url.removeprefix("http://"))
    web.until("workload", status="killed")
    web("offline").wait_for(state="detached")
    log = web.until("logs", connection="over")
    lines = int(log.get_attribute("data-lines") or "0")
    assert web.log_text() == "".join(f"line {number}\n" for number in range(lines))
