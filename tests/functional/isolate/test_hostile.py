"""Programs that try to get out, to break their harness, or to use more than they were given."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from caisson.backends.isolate.backend import IsolateBackend
from caisson.errors import SandboxCrashed, StartFailed
from caisson.model import Resources, Runtime
from caisson.sandbox.contract import Exited, Output, SandboxSpec
from tests.helpers.sandboxes import Ran, carry_out, job, run_job

CORE = "const core = (Deno as any)[(Deno as any).internal].core;\n"
"""What Deno's own modules use, and a program that looks for it finds."""


def test_an_infinite_loop_is_ended_and_verified_dead(isolate: IsolateBackend) -> None:
    """Nothing a program does keeps it alive once its time is up."""
    ran = run_job(isolate, job("console.log('on'); for (;;);"), timeout_s=1)
    assert ran.timed_out
    assert ran.stdout == "on\n"


@pytest.mark.parametrize("code", ["await new Promise(() => {})", "export default () => new Promise(() => {})"])
def test_an_async_wait_that_never_ends_is_still_running(isolate: IsolateBackend, code: str) -> None:
    """A promise that never settles is no end: the deadline is what ends it."""
    ran = run_job(isolate, job(code), timeout_s=0.7)
    assert ran.timed_out
    assert not ran.events


def test_infinite_recursion_is_an_exception(isolate: IsolateBackend) -> None:
    """The stack's end is an ordinary RangeError."""
    ran = run_job(isolate, job("const f = (): number => f() + 1;\nexport default f"))
    assert ran.raised.kind == "RangeError"
    assert "main.ts:1:" in ran.raised.trace


@pytest.mark.parametrize(
    "code",
    [
        "const a: number[][] = []; for (;;) a.push(new Array(10_000).fill(1.5))",
        "const a: Uint8Array[] = []; for (;;) a.push(new Uint8Array(1 << 20).fill(1))",
        "let s = 'x'; const a: string[] = []; for (;;) { s += s.slice(0, 1000); a.push(s + a.length) }",
        "const m = new WebAssembly.Memory({ initial: 1 }); for (;;) m.grow(256)",
    ],
)
def test_memory_exhaustion_is_told_as_such(isolate: IsolateBackend, code: str) -> None:
    """Heap, array buffers and wasm memory: all end with out_of_memory, and the host is unharmed."""
    ran = run_job(isolate, job(code, resources=Resources(mem_mb=64)), timeout_s=60)
    assert ran.exited.out_of_memory


def test_what_a_short_program_held_counts_though_it_has_ended(isolate: IsolateBackend) -> None:
    program = "const kept = new Uint8Array(500 << 20).fill(1);"
    function = f"export default () => {{ {program} }}"
    for code in (program, function):
        assert run_job(isolate, job(code, resources=Resources(mem_mb=64))).exited.out_of_memory
        assert not run_job(isolate, job(code, resources=Resources(mem_mb=600))).exited.out_of_memory


@pytest.mark.parametrize("code", ["Deno.exit()", "process.kill(process.pid, 'SIGKILL')", "process.abort()"])
def test_ending_itself_is_never_reported_as_our_fault(isolate: IsolateBackend, code: str) -> None:
    """A program may end, or try to kill itself; what is reported is its own end."""
    ran = run_job(isolate, job(code))
    assert isinstance(ran.exited, Exited)
    assert ran.failure is None


@pytest.mark.parametrize(
    "code",
    [
        "Deno.readTextFileSync('/etc/passwd')",
        "Deno.readTextFileSync('/proc/self/environ')",
        "Deno.readTextFileSync('/proc/1/maps')",
        "[...Deno.readDirSync('/')]",
        "Deno.readTextFileSync('/work/../../etc/hostname')",
        "Deno.writeTextFileSync('/work/x', '')",
        "Deno.symlinkSync('/', '/tmp/root'); Deno.readDirSync('/tmp/root')",
        "new Deno.Command('/bin/sh').spawn()",
        "new Deno.Command('/bin/deno', { args: ['--version'] }).outputSync()",
        "await Deno.connect({ port: 80 })",
        "Deno.listen({ port: 0 })",
        "await fetch('http://127.0.0.1:8080/')",
        "Deno.dlopen('/lib/x86_64-linux-gnu/libc.so.6', {})",
        "Deno.hostname()",
        "Deno.osRelease()",
        "Deno.readTextFileSync('/run/caisson/harness/harness.js')",
        "Deno.openSync('/run/caisson/channel/out', { write: true })",
        "Deno.readTextFileSync('/bin/deno')",
        "await import('file:///etc/passwd', { with: { type: 'json' } })",
        "const r = await Deno.permissions.request({ name: 'read' }); if (r.state === 'granted') Deno.exit(0); throw 1",
        "(await import('node:child_process')).execSync('id')",
    ],
)
def test_nothing_outside_its_own_files_can_be_reached(isolate: IsolateBackend, code: str) -> None:
    """Files of the host, processes, network, libraries, system facts: refused by the runtime already."""
    ran = run_job(isolate, job(code))
    assert ran.exited.code == 1
    assert ran.raised.kind in {"NotCapable", "NotFound", "TypeError", "Error", "PermissionDenied", "Uncaught"}


def test_a_worker_thread_has_no_more_rights(isolate: IsolateBackend) -> None:
    """Threads that a program starts are under the same permissions."""
    code = """
        const source = "try { Deno.readTextFileSync('/etc/passwd') } catch (e) { self.postMessage(e.name) }";
        const worker = new Worker(`data:application/javascript,${encodeURIComponent(source)}`, { type: "module" });
        const answer = new Promise((done) => worker.onmessage = (event) => done(event.data));
        export default () => answer;
    """
    assert run_job(isolate, job(code)).result == "NotCapable"


def test_behind_the_runtimes_checks_stands_a_jail(isolate: IsolateBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a Deno with every permission the jail shows nothing of the host and lets it do nothing to it."""
    code = """
        const tried: Record<string, string> = {};
        const attempt = (name: string, what: () => unknown) => {
            try { tried[name] = "DONE: " + what() } catch (e) { tried[name] = (e as Error).message }
        };
        attempt("root", () => [...Deno.readDirSync("/")].map((e) => e.name).sort().join(" "));
        attempt("passwd", () => Deno.readTextFileSync("/etc/passwd"));
        attempt("host", () => Deno.readTextFileSync("/proc/1/environ"));
        attempt("write", () => Deno.writeTextFileSync("/bin/x", ""));
        attempt("write work", () => Deno.writeTextFileSync("/work/x", ""));
        attempt("spawn", () => new Deno.Command("/bin/deno", { args: ["--version"] }).outputSync().code);
        attempt("listen", () => Deno.listen({ port: 0 }).addr);
        attempt("uid", () => Deno.uid());
        attempt("hostname", () => Deno.hostname());
        export default () => tried;
    """
    guest = isolate._guests[Runtime.NODE]

    def command(nonce: str, mem_mb: int) -> list[str]:
        deno, run, *rest = guest.command(nonce, mem_mb)
        return [deno, run, "--allow-all", *(each for each in rest if not each.startswith("--allow"))]

    monkeypatch.setitem(isolate._guests, Runtime.NODE, replace(guest, command=command))
    tried = run_job(isolate, job(code)).result
    assert tried["root"] == "DONE: bin lib lib64 proc run tmp work"
    for name in ("passwd", "host", "write", "write work", "spawn", "listen"):
        assert not tried[name].startswith("DONE"), (name, tried[name])
    assert tried["uid"] == "DONE: 65534"
    assert tried["hostname"] == "DONE: caisson"


@pytest.mark.parametrize(
    "code",
    [
        "Array.prototype.push = () => { throw 1 }; Array.prototype[Symbol.iterator] = null as any",
        "JSON.stringify = () => 'no'; JSON.parse = () => { throw 1 }",
        "Uint8Array.prototype.set = () => {}; Uint8Array.prototype.subarray = null as any",
        "Object.defineProperty(Object.getPrototypeOf(Uint8Array.prototype), 'byteLength', { get: () => 1 })",
        "TextEncoder.prototype.encode = () => new Uint8Array(3); TextEncoder.prototype.encodeInto = null as any",
        "Function.prototype.call = () => 1; Function.prototype.bind = null as any",
        "Function.prototype.apply = null as any; Reflect.apply = null as any",
        "String.prototype.slice = null as any; String.prototype.indexOf = () => -1",
        "DataView.prototype.setUint32 = () => {}",
        "Deno.FsFile.prototype.writeSync = () => 0",
        "for (const k of Reflect.ownKeys(Deno)) { try { delete (Deno as any)[k] } catch { } }",
        "const g: any = globalThis, r = Reflect; for (const k of r.ownKeys(g)) try { delete g[k] } catch { }",
        "const o: any = Object.prototype; o.toString = null; o.kind = 'x'; o[0] = 1",
    ],
)
def test_changing_the_runtime_harms_only_the_program_itself(isolate: IsolateBackend, code: str) -> None:
    """Globals and prototypes may be replaced; the function's value still arrives."""
    ran = run_job(isolate, job(f"{code};\nexport default (i: {{ a: number }}) => i.a + 1", input={"a": 1}))
    assert ran.result == 2
    assert ran.exited.code == 0


@pytest.mark.parametrize(
    "code",
    [
        "Promise.prototype.then = () => { throw 1 }; export default async () => 1",
        "Object.prototype.then = (f: any) => f(1); export default () => ({})",
        "globalThis.Promise = null as any; export default async () => 1",
        "export default () => ({ toJSON() { Deno.exit(5) } })",
        "export default () => ({ get then() { throw new Error('thenable') } })",
        "export default () => { throw new Proxy(new Error(), { get() { throw new Error('trap') } }) }",
        "export default () => { throw Object.defineProperty(new Error('x'), 'stack', { get() { throw 1 } }) }",
        "Error.prepareStackTrace = () => { throw 1 }; export default () => { throw new Error('x') }",
    ],
)
def test_tricks_with_promises_and_errors_end_in_an_answer(isolate: IsolateBackend, code: str) -> None:
    """Whatever a program makes of its own result or error, its run ends, and not as our crash."""
    ran = run_job(isolate, job(code), timeout_s=5)
    assert ran.timed_out or ran.exited is not None
    assert ran.failure is None


def test_closing_the_channel_is_a_crash_of_the_sandbox(isolate: IsolateBackend) -> None:
    """A program that closes its harness's files is cut off and told so."""
    code = "for (let fd = 3; fd < 64; fd++) try { core.close(fd) } catch { }\nawait new Promise(() => {})"
    ran = run_job(isolate, job("console.log('before');\n" + CORE + code))
    assert isinstance(ran.failure, SandboxCrashed), ran
    assert "closed the channel" in ran.failure.message
    assert ran.stdout == "before\n"


def test_garbage_on_the_channel_is_a_crash_of_the_sandbox(isolate: IsolateBackend) -> None:
    """What is no frame ends the run; what was written before is kept."""
    code = (
        "const b = new Uint8Array(64).fill(255);\nfor (let i = 3; i < 64; i++) try { core.writeSync(i, b) } catch { }"
    )
    ran = run_job(isolate, job("console.log('before');\n" + CORE + code))
    assert isinstance(ran.failure, SandboxCrashed), ran
    assert "protocol" in ran.failure.message
    assert ran.stdout == "before\n"


def test_writing_past_the_harness_still_arrives(isolate: IsolateBackend) -> None:
    """Output to the plain descriptors is drained as well."""
    code = "import fs from 'node:fs'; fs.writeSync(1, 'one\\n'); fs.writeSync(2, 'two\\n')"
    ran = run_job(isolate, job(code))
    assert (ran.stdout, ran.stderr) == ("one\n", "two\n")


def test_a_flood_of_output_needs_bounded_memory_and_loses_nothing(isolate: IsolateBackend) -> None:
    """A million short lines arrive complete, while the slow reader holds the program back."""

    async def main() -> int:
        lines = 0
        code = "for (let i = 0; i < 1_000_000; i++) console.log(i)"
        async with isolate.boot(SandboxSpec(Runtime.NODE, 256, 16)) as sandbox:
            async for event in sandbox.run(job(code, resources=Resources(timeout_s=60))):
                if isinstance(event, Output):
                    assert len(event.data) < 4 << 20
                    lines += event.data.count(b"\n")
        return lines

    assert asyncio.run(main()) == 1_000_000


def test_a_line_without_end_arrives(isolate: IsolateBackend) -> None:
    """Ten megabytes without a newline are passed on in pieces."""
    ran = run_job(isolate, job("console.log('x'.repeat(10_000_000))"))
    assert len(ran.stdout) == 10_000_001


def test_killing_the_process_from_outside_is_a_crash(isolate: IsolateBackend) -> None:
    """SIGKILL that no limit explains is nobody's exit code."""

    async def main() -> Ran:
        ran = Ran()
        async with isolate.boot(SandboxSpec(Runtime.NODE, 64, 1)) as sandbox:
            try:
                async for event in sandbox.run(job("console.log('on'); setInterval(() => {}, 1000)")):
                    ran.events.append(event)
                    os.kill(sandbox.pid, signal.SIGKILL)  # type: ignore[attr-defined]
            except SandboxCrashed as error:
                ran.failure = error
        return ran

    ran = asyncio.run(main())
    assert ran.failure is not None
    assert "killed from outside" in ran.failure.message


def test_a_sandbox_that_died_while_it_waited_did_not_begin(isolate: IsolateBackend) -> None:
    """Its death before the workload is a failed start, which may be tried again."""

    async def main() -> None:
        async with isolate.boot(SandboxSpec(Runtime.NODE, 64, 1)) as sandbox:
            os.kill(sandbox.pid, signal.SIGKILL)  # type: ignore[attr-defined]
            await sandbox._inner.wait()  # type: ignore[attr-defined]
            assert not await sandbox.ping(1)
            with pytest.raises(StartFailed):
                async for _ in sandbox.run(job("1")):
                    pass

    asyncio.run(main())


def test_two_sandboxes_see_nothing_of_each_other(isolate: IsolateBackend) -> None:
    """What one leaves in /tmp is not there for the next, nor for one beside it."""

    async def main() -> list[Ran]:
        code = "console.log([...Deno.readDirSync('/tmp')].length); Deno.writeTextFileSync(`/tmp/${Math.random()}`, '')"
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(carry_out(isolate, job(code))) for _ in range(3)]
        return [task.result() for task in tasks]

    assert [ran.stdout for ran in asyncio.run(main())] == ["0\n"] * 3
