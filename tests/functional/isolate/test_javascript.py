"""JavaScript and TypeScript in a jailed Deno: shapes, input and output, errors in the user's own file and line."""

from __future__ import annotations

import pytest

from caisson.backends.isolate.backend import IsolateBackend
from caisson.model import Resources, Stream
from caisson.sandbox.contract import Output
from tests.helpers.sandboxes import job, run_job


def test_a_function_gets_its_input_and_its_value_is_the_result(isolate: IsolateBackend) -> None:
    """The default export is called with the input; what it returns, awaited, is the output."""
    ran = run_job(isolate, job("export default async (i: {a: number}) => ({ sum: i.a + 1 });", input={"a": 41}))
    assert ran.result == {"sum": 42}
    assert ran.exited.code == 0


def test_a_large_input_and_a_large_result_pass_whole(isolate: IsolateBackend) -> None:
    """Values larger than a frame arrive in several."""
    ran = run_job(isolate, job("export default (text: string) => text + text;", input="ü" * 1_500_000))
    assert ran.result == "ü" * 3_000_000


def test_undefined_becomes_null(isolate: IsolateBackend) -> None:
    """A function that returns nothing has the output null."""
    assert run_job(isolate, job("export default () => {}")).result is None


def test_a_value_that_is_not_json_is_an_exception(isolate: IsolateBackend) -> None:
    """A BigInt cannot be the output, and the program is told so."""
    ran = run_job(isolate, job("export default () => 1n"))
    assert ran.raised.kind == "TypeError"
    assert "BigInt" in ran.raised.message


def test_a_program_reads_stdin_and_writes_its_output_file(isolate: IsolateBackend) -> None:
    """Without a default export the input is on stdin, and the file named by CAISSON_OUTPUT is the output."""
    code = """
        const input = JSON.parse(await new Response(Deno.stdin.readable).text());
        Deno.writeTextFileSync(Deno.env.get("CAISSON_OUTPUT")!, JSON.stringify(input.a * 2));
    """
    ran = run_job(isolate, job(code, input={"a": 21}))
    assert ran.result == 42
    assert ran.exited.code == 0


def test_given_stdin_replaces_the_input(isolate: IsolateBackend) -> None:
    """With `stdin` given, that is what a program reads."""
    ran = run_job(isolate, job("console.log(await new Response(Deno.stdin.readable).text())", stdin=b"plain", input=1))
    assert ran.stdout == "plain\n"


@pytest.mark.parametrize("call", ["Deno.exit(3)", "process.exit(3)", "process.exitCode = 3", "Deno.exit(200)"])
def test_the_exit_code_is_what_the_program_chose(isolate: IsolateBackend, call: str) -> None:
    """However a program ends itself, its code is reported as it is, also where it looks like a signal."""
    ran = run_job(isolate, job(f"console.log('before'); {call}"))
    assert ran.exited.code == (200 if "200" in call else 3)
    assert ran.exited.signal is None
    assert ran.stdout == "before\n"


def test_arguments_and_environment_are_the_workloads_own(isolate: IsolateBackend) -> None:
    """Arguments and variables arrive, and nothing of the server's or the harness's environment does."""
    code = """
        import process from "node:process";
        console.log(JSON.stringify([Deno.args, process.argv.slice(2), Object.keys(Deno.env.toObject()).sort()]));
    """
    ran = run_job(isolate, job(code, args=("-x", "y z"), env={"MINE": "1"}))
    assert ran.stdout == '[["-x","y z"],["-x","y z"],["CAISSON_OUTPUT","MINE"]]\n'


def test_several_files_import_each_other(isolate: IsolateBackend) -> None:
    """Relative imports between folders, TypeScript and JavaScript mixed, JSON included."""
    files = {
        "main.ts": "import { twice } from './lib/twice.ts'; import n from './n.json' with { type: 'json' };\n"
        "export default () => twice(n.value);",
        "lib/twice.ts": "import { two } from '../two.js'; export const twice = (x: number): number => two * x;",
        "two.js": "export const two = 2;",
        "n.json": '{"value": 21}',
    }
    assert run_job(isolate, job(files)).result == 42


def test_node_modules_that_need_no_permission_work(isolate: IsolateBackend) -> None:
    """Path, buffer, crypto, events and the like are there."""
    code = """
        import { createHash } from "node:crypto"; import path from "node:path";
        import { EventEmitter } from "node:events";
        import fs from "node:fs"; import { Buffer } from "node:buffer";
        fs.writeFileSync("/tmp/x", "content");
        const events = new EventEmitter(); let heard = 0; events.on("e", () => heard++); events.emit("e");
        export default () => [createHash("sha256").update("a").digest("hex").slice(0, 8), path.join("a", "..", "b"),
            heard, fs.readFileSync("/tmp/x", "utf8"), Buffer.from("hi").toString("base64")];
    """
    assert run_job(isolate, job(code)).result == ["ca978112", "b", 1, "content", "aGk="]


def test_output_of_both_streams_keeps_its_order(isolate: IsolateBackend) -> None:
    """Whatever way a program writes, its lines arrive in the order in which it wrote them."""
    code = """
        import process from "node:process";
        for (let i = 0; i < 200; i++) {
            console.log("log", i); console.error("error", i);
            Deno.stdout.writeSync(new TextEncoder().encode(`sync ${i}\\n`));
            process.stderr.write(`node ${i}\\n`);
            await Deno.stdout.write(new TextEncoder().encode(`async ${i}\\n`));
        }
    """
    ran = run_job(isolate, job(code))
    written = "".join(e.data.decode() for e in ran.events if isinstance(e, Output))
    kinds = ("log", "error", "sync", "node", "async")
    assert written.splitlines() == [f"{kind} {i}" for i in range(200) for kind in kinds]
    assert {e.stream for e in ran.events if isinstance(e, Output)} == {Stream.STDOUT, Stream.STDERR}


def test_output_that_is_no_text_arrives_as_it_is(isolate: IsolateBackend) -> None:
    """Invalid UTF-8 and NULs are not touched."""
    ran = run_job(isolate, job("Deno.stdout.writeSync(new Uint8Array([0xff, 0, 0x80, 10]))"))
    assert [e.data for e in ran.events if isinstance(e, Output)] == [b"\xff\x00\x80\n"]


def test_an_uncaught_error_names_the_users_file_and_line(isolate: IsolateBackend) -> None:
    """The trace has TypeScript's lines, the user's names, and no frame of the harness; it is on stderr too."""
    code = "interface A { a: number }\n\nfunction f(x: A): never {\n  throw new RangeError('bad ' + x.a);\n}\n"
    ran = run_job(
        isolate,
        job(
            {
                "main.ts": "import { g } from './lib/f.ts';\ng();",
                "lib/f.ts": code + "export const g = () => f({ a: 1 });",
            }
        ),
    )
    assert ran.raised.kind == "RangeError"
    assert ran.raised.message == "bad 1"
    assert ran.raised.trace.splitlines() == [
        "RangeError: bad 1",
        "    at f (lib/f.ts:4:9)",
        "    at g (lib/f.ts:6:24)",
        "    at main.ts:2:1",
    ]
    assert "at f (lib/f.ts:4:9)" in ran.stderr
    assert ran.exited.code == 1


@pytest.mark.parametrize(
    "code",
    [
        "setTimeout(() => { throw new Error('boom') }, 1)",
        "Promise.reject(new Error('boom'))",
        "export default () => { throw new Error('boom') }",
        "export default async () => { await 0; throw new Error('boom') }",
        "queueMicrotask(() => { throw new Error('boom') })",
        "import e from 'node:events'; new e().emit('error', new Error('boom'))",
        "export default () => new Promise(() => setTimeout(() => { throw new Error('boom') }, 1))",
    ],
)
def test_every_uncaught_error_is_reported(isolate: IsolateBackend, code: str) -> None:
    """Thrown at once, later, in a promise, in a function: it is an exception with its message and exit code 1."""
    ran = run_job(isolate, job(code))
    assert (ran.raised.kind, ran.raised.message) == ("Error", "boom")
    assert "main.ts:1:" in ran.raised.trace
    assert "harness" not in ran.raised.trace
    assert ran.exited.code == 1


@pytest.mark.parametrize("code", ["throw null", "throw 'text'", "throw { a: 1 }", "throw undefined"])
def test_anything_can_be_thrown(isolate: IsolateBackend, code: str) -> None:
    """What is thrown need not be an error."""
    ran = run_job(isolate, job(code))
    assert ran.raised.kind == "Uncaught"
    assert ran.exited.code == 1


@pytest.mark.parametrize(
    "code",
    [
        "addEventListener('error', (e) => { e.preventDefault(); console.log('handled') });\n"
        "setTimeout(() => { throw new Error('boom') }, 1)",
        "globalThis.onunhandledrejection = (e) => { e.preventDefault(); console.log('handled') };\nPromise.reject(1)",
        "import p from 'node:process'; p.on('uncaughtException', () => console.log('handled'));\n"
        "setTimeout(() => { throw new Error('boom') }, 1)",
        "import p from 'node:process'; p.on('unhandledRejection', () => console.log('handled'));\nPromise.reject(1)",
    ],
)
def test_a_program_may_handle_its_own_late_errors(isolate: IsolateBackend, code: str) -> None:
    """An error that the program's own last-resort handler takes is not an exception."""
    ran = run_job(isolate, job(code))
    assert ran.stdout == "handled\n"
    assert ran.exited.code == 0


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"main.ts": "const x: = 3"}, "main.ts:1:10"),
        ({"main.ts": "export default () => {"}, "main.ts"),
        ({"main.ts": "import './nope.ts'"}, "nope.ts"),
        ({"main.ts": "import { no } from './lib.ts'; no()", "lib.ts": "export {}"}, "does not provide an export"),
        ({"main.ts": "import './lib.ts'", "lib.ts": "let let = 1"}, "lib.ts:1"),
        ({"main.ts": "import chalk from 'npm:chalk'"}, "npm"),
        ({"main.ts": "import 'https://example.com/x.ts'"}, "example.com"),
    ],
)
def test_code_that_cannot_be_loaded_is_invalid(isolate: IsolateBackend, files: dict[str, str], text: str) -> None:
    """Syntax errors and imports that cannot be are the code's fault, before it ran."""
    ran = run_job(isolate, job(files))
    assert ran.raised.kind == "invalid_code"
    assert text in ran.raised.message
    assert "/work" not in ran.raised.trace
    assert "\x1b" not in ran.raised.trace
    assert ran.exited.code == 1


def test_a_syntax_error_while_running_is_an_exception(isolate: IsolateBackend) -> None:
    """JSON that does not parse is not code that does not load."""
    assert run_job(isolate, job("JSON.parse('{')")).raised.kind == "SyntaxError"


def test_a_full_disk_is_told_as_such(isolate: IsolateBackend) -> None:
    """Writing more than disk_mb to /tmp fails, and uncaught it is disk_full."""
    code = "const b = new Uint8Array(1 << 20); const f = Deno.openSync('/tmp/x', {write: true, create: true});\n"
    ran = run_job(isolate, job(code + "for (;;) f.writeSync(b)", resources=Resources(disk_mb=4)))
    assert ran.raised.kind == "disk_full"


def test_unload_listeners_run_before_the_output_is_read(isolate: IsolateBackend) -> None:
    """A program may write its output in its last moment."""
    code = "addEventListener('unload', () => Deno.writeTextFileSync(Deno.env.get('CAISSON_OUTPUT')!, '7'))"
    assert run_job(isolate, job(code)).result == 7
