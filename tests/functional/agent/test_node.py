"""JavaScript workloads in the waiting Node.js, as the agent's driver sees them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from caisson.model import Runtime, Stream
from caisson.sandbox.contract import Exited, Output
from tests.helpers.driving import Drove

Run = Callable[..., Drove]


@pytest.fixture
def node(harnessed: Run) -> Run:
    """Runs code, or several files."""
    return partial(harnessed, Runtime.NODE)


def test_a_function_gets_the_input_and_returns_the_output(node: Run) -> None:
    done = node("export default async (input) => ({ sum: input.a + 1, 'ü': null })", input={"a": 1})
    assert (done.result, done.exited) == ({"sum": 2, "ü": None}, Exited(code=0))
    assert node("export default () => undefined").result is None


def test_a_large_input_and_a_large_output_pass(node: Run) -> None:
    assert node("export default (x) => x + x", input="x" * 2_000_000).result == "x" * 4_000_000


@pytest.mark.parametrize(
    "files",
    [
        {"main.js": "module.exports = (x) => x + require('./lib/a').b", "lib/a.js": "exports.b = 1"},
        {"main.js": "import { b } from './lib/a.js'\nexport default (x) => x + b", "lib/a.js": "export const b = 1"},
        {"main.mjs": "import a from './lib/a.cjs'\nexport default (x) => x + a.b", "lib/a.cjs": "exports.b = 1"},
        {"main.js": "exports.__esModule = true\nexports.default = (x) => x + 1"},
        {"main.js": "export default (x) => x + 1", "package.json": '{"type": "module"}'},
        {"index.cjs": "module.exports = async (x) => x + 1"},
        {"src/main.ts": "export default (x) => x + 1"},
    ],
)
def test_modules_of_both_kinds_work(node: Run, files: dict[str, str]) -> None:
    assert node(files, input=1).result == 2


def test_a_program_reads_stdin_and_writes_its_output_file(node: Run) -> None:
    code = """
    import fs from "node:fs"
    const input = JSON.parse(fs.readFileSync(0, "utf8"))
    fs.writeFileSync(process.env.CAISSON_OUTPUT, JSON.stringify([input, process.argv.slice(2), process.env.K]))
    """
    done = node(code, input={"a": 1}, args=("x y", ""), env={"K": "é=1"})
    assert (done.result, done.exited) == ([{"a": 1}, ["x y", ""], "é=1"], Exited(code=0))
    assert node("for await (const c of process.stdin) console.log(c.toString())", stdin=b"line").stdout == "line\n"


def test_the_order_of_stdout_and_stderr_is_kept(node: Run) -> None:
    done = node("for (let n = 0; n < 300; n++) { console.log(n); console.error(n) }")
    lines = [
        (event.stream, line)
        for event in done.events
        if isinstance(event, Output)
        for line in event.data.decode().splitlines()
    ]
    assert lines == [(stream, str(n)) for n in range(300) for stream in (Stream.STDOUT, Stream.STDERR)]


def test_children_write_too(node: Run) -> None:
    code = """
    import { execFileSync, spawnSync } from "node:child_process"
    console.log("parent")
    spawnSync("/bin/echo", ["child"], { stdio: "inherit" })
    console.log(execFileSync("/bin/echo", ["caught"]).toString())
    """
    assert sorted(node(code).stdout.split()) == ["caught", "child", "parent"]


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("process.exit(3)", 3),
        ("process.exitCode = 4", 4),
        ("export default () => process.exit(5)", 5),
        ("setTimeout(() => process.exit(6), 50)", 6),
        ("process.on('exit', () => process.exit(7))", 7),
    ],
)
def test_exit_codes_are_the_programs(node: Run, code: str, number: int) -> None:
    assert node(code).exited == Exited(code=number)


def test_an_exception_names_the_users_files_and_lines_only(node: Run) -> None:
    files = {
        "main.js": "import { f } from './lib/f.js'\nexport default (x) =>\n  f(x)\n",
        "lib/f.js": "\nexport function f() {\n  throw new TypeError('broke')\n}\n",
    }
    done = node(files)
    raised = done.raised
    assert (raised.kind, raised.message, done.exited) == ("TypeError", "broke", Exited(code=1))
    assert "lib/f.js:3:9" in raised.trace
    assert "main.js:3:3" in raised.trace
    assert "node.mjs" not in raised.trace
    assert "node:internal" not in raised.trace
    assert raised.trace in done.stderr


def test_an_entry_of_another_name_inside_keeps_its_own_outside(node: Run) -> None:
    assert "main.ts:2:7" in node("\nthrow new Error('x')").raised.trace


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ("export default function (", "main.ts:1"),
        ({"main.js": "import './no.js'"}, "no.js"),
        ({"main.js": "import 'no-such-package'"}, "no-such-package"),
        ({"main.js": "import './other.js'", "other.js": "\nlet let = 1"}, "other.js:2"),
        ("let let = 1", "main.ts:1"),
    ],
)
def test_code_that_cannot_be_loaded_is_invalid(node: Run, files: str | dict[str, str], word: str) -> None:
    raised = node(files).raised
    assert raised.kind == "invalid_code"
    assert word in raised.trace


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("JSON.parse('{')", "SyntaxError"),
        ("Promise.reject(new RangeError('r'))", "RangeError"),
        ("setTimeout(() => { throw new URIError('u') }, 10)", "URIError"),
        ("throw 'text'", "Uncaught"),
        ("export default () => ({ a: 1n })", "TypeError"),
        ("throw Object.assign(new Error('full'), { code: 'ENOSPC' })", "disk_full"),
    ],
)
def test_exceptions_are_told_by_their_kind(node: Run, code: str, kind: str) -> None:
    done = node(code)
    assert (done.raised.kind, done.exited) == (kind, Exited(code=1))


def test_a_program_that_spoils_its_prototypes_harms_only_itself(node: Run) -> None:
    code = """
    for (const prototype of [Array.prototype, String.prototype, Buffer.prototype, Function.prototype]) {
      for (const name of Object.getOwnPropertyNames(prototype)) {
        try { prototype[name] = () => { throw new Error('spoilt') } } catch {}
      }
    }
    JSON.stringify = JSON.parse = Buffer.from = Buffer.concat = undefined
    export default (x) => x
    """
    assert node(code, input={"a": [1]}).result == {"a": [1]}


def test_a_promise_that_never_settles_does_not_end_the_program(node: Run) -> None:
    code = "setTimeout(() => process.exit(9), 300).unref(); setTimeout(() => {}, 400)\nawait new Promise(() => {})"
    assert node(code).exited == Exited(code=9)


def test_a_copy_is_started_anew(node: Run) -> None:
    assert node("export default (x) => x", input=1, renewals=2).result == 1


def test_a_rehearsal_leaves_nothing_that_a_program_could_find(node: Run) -> None:
    code = "import fs from 'node:fs'; export default (x) => [x, fs.readdirSync('.'), process.argv.length]"
    assert node(code, input=1, rehearsals=2).result == [1, ["main.mjs"], 2]
