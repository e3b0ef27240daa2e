"""TypeScript for the waiting Node.js, as the agent's driver sees it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from caisson.model import Runtime
from caisson.sandbox.contract import Exited
from tests.helpers.driving import Drove

Run = Callable[..., Drove]
TYPED = "interface Input { a: number }\nexport default (input: Input): number => input.a + 1\n"


@pytest.fixture
def node(harnessed: Run, inside: Path) -> Run:
    """Runs code, or several files."""
    if not (inside / "esbuild").exists():
        pytest.skip("no esbuild: the guest image `node` is not built")
    return partial(harnessed, Runtime.NODE)


ONE_FILE = {
    "code": TYPED,
    "main.ts": TYPED,
    "src/main.mts": TYPED,
    "main.cts": TYPED,
    "old.cts": "import path = require('path')\nexport = (x: { a: number }) => path.sep && x.a + 1",
    "main.tsx": "const React = { createElement: (_: string, p: any) => p.a }\nexport default (x) => <i a={x.a + 1}/>",
    "main.jsx": "const React = { createElement: (_, p) => p.a }\nexport default (x) => <i a={x.a + 1}/>",
    "enum.ts": "enum E { A = 1 }\nexport default (x) => x.a + E.A",
    "class.ts": "class C { constructor(private n: number) {} get() { return this.n } }\n"
    "export default (x) => new C(x.a).get() + 1",
    "call.ts": "const f = (x) => x\nexport default (x) => f<number>(x.a) + 1",
    "waits.ts": "const one: number = await Promise.resolve(1)\nexport default (x) => x.a + one",
    "decorated.ts": "const one = (f: any, _: any) => (x: any) => f(x) + 1\n"
    "class C { @one g(x) { return x.a } }\nexport default (x) => new C().g(x)",
}
IMPORTING = [
    {"main.ts": "import { f } from './lib/f.ts'\nexport default f", "lib/f.ts": "export const f = (x: any) => x.a + 1"},
    {"main.ts": "export { default } from './f.mts'", "f.mts": TYPED},
    {"main.ts": "import f from './f.cts'\nexport default f.default", "f.cts": TYPED},
    {
        "main.ts": "import { g } from './f.cts'\nexport default g",
        "f.cts": "export const g = (x: any) => require('./h.cts').default(x)",
        "h.cts": TYPED,
    },
    {"main.js": "import f from './f.ts'\nexport default f", "f.ts": TYPED},
    {"main.js": "module.exports = async (x) => (await import('./f.ts')).default(x)", "f.ts": TYPED},
    {"main.js": "module.exports = require('./f.cts').default", "f.cts": TYPED},
    {
        "main.ts": "import { type T, one } from './f.ts'\nimport { T as U } from './f.ts'\n"
        "export default (x: T & U) => x.a + one",
        "f.ts": "export type T = { a: number }\nexport const one = 1",
    },
    {
        "main.ts": "import one from './one.json' with { type: 'json' }\nexport default (x: any) => x.a + one",
        "one.json": "1",
    },
    {
        "main.ts": "import f from './f.ts'\nimport './plain.mjs'\nexport default f",
        "f.ts": TYPED,
        "plain.mjs": "1",
        "broken-but-unused.ts": "const = 1",
    },
]


@pytest.mark.parametrize("name", ONE_FILE)
def test_a_file_is_run(node: Run, name: str) -> None:
    files = ONE_FILE[name] if name == "code" else {name: ONE_FILE[name]}
    assert node(files, input={"a": 1}).result == 2


@pytest.mark.parametrize("files", IMPORTING)
def test_files_import_each_other(node: Run, files: dict[str, str]) -> None:
    assert node(files, input={"a": 1}).result == 2


def test_a_program_reads_input_and_keeps_its_names(node: Run) -> None:
    code = """
    import fs from "node:fs"
    const input: unknown = JSON.parse(fs.readFileSync(0, "utf8"))
    const here: string[] = [import.meta.url, process.argv[1]!].map((name: string) => name.split("/").pop()!)
    const seen = [input, here, process.argv.slice(2), fs.readdirSync(".")]
    fs.writeFileSync(process.env.CAISSON_OUTPUT!, JSON.stringify(seen))
    """
    done = node(code, input={"a": 1}, args=("x",))
    assert (done.result, done.exited) == ([{"a": 1}, ["main.ts", "main.ts"], ["x"], ["main.ts"]], Exited(code=0))


def test_what_runs_before_a_syntax_error_runs_once(node: Run) -> None:
    done = node({"main.ts": "console.log('once')\nawait import('./bad.js')", "bad.js": "let let"})
    assert (done.stdout, done.raised.message) == ("once\n", "let is disallowed as a lexically bound name")
    done = node("console.log('once')\nthrow Object.assign(new SyntaxError('mine'), { stack: '' })")
    assert (done.stdout, done.raised.message) == ("once\n", "mine")


@pytest.mark.parametrize(
    "main",
    [
        "import { f } from './lib/f.ts'\n\nf(1 as number)\n",
        "export {}\nimport './lib/f.ts'\nconst x: any = (await import('./lib/f.ts')).f()",
    ],
)
def test_an_exception_names_the_users_files_and_lines_only(node: Run, main: str) -> None:
    lib = "interface A {\n  b: string\n}\n\nexport function f(x: unknown) {\n  throw new TypeError('broke')\n}\n"
    raised = node({"main.ts": main, "lib/f.ts": lib}).raised
    assert (raised.kind, raised.message) == ("TypeError", "broke")
    assert "lib/f.ts:6:9" in raised.trace
    assert "main.ts:3:" in raised.trace
    assert "typescript.mjs" not in raised.trace
    assert "node:internal" not in raised.trace


def test_an_exception_of_a_single_file_names_its_line(node: Run) -> None:
    raised = node(
        "interface A {\n  b: string\n}\n\nconst f = (x: A) => {\n  throw new TypeError('broke')\n}\nf({ b: '' })"
    ).raised
    assert "main.ts:6:9" in raised.trace
    assert "main.ts:8:1" in raised.trace


@pytest.mark.parametrize(
    ("files", "place", "message"),
    [
        ("const x: number = 1\nconst y: = 2", "main.ts:2:10", "Unexpected"),
        ({"main.ts": "import './lib/f.ts'", "lib/f.ts": "\n\nconst y: = 2"}, "lib/f.ts:3:10", "Unexpected"),
        ({"main.ts": "import './lib/f.cts'", "lib/f.cts": "\n\nconst y: = 2"}, "lib/f.cts:3:10", "Unexpected"),
        ({"main.tsx": "const y = <a>;"}, "main.tsx:1:", "Un"),
        (
            {"main.ts": "import { no } from './f.ts'\nno()", "f.ts": "export const f: number = 1"},
            "main.ts:1",
            "'./f.ts' does not provide",
        ),
        ({"main.ts": "import './no.ts'\nconst x: number = 1"}, "main.ts", "no.ts"),
    ],
)
def test_code_that_cannot_be_loaded_is_invalid(
    node: Run, files: str | dict[str, str], place: str, message: str
) -> None:
    done = node(files)
    assert done.raised.kind == "invalid_code"
    assert place in done.raised.trace
    assert message in done.raised.trace
    assert done.exited == Exited(code=1)
