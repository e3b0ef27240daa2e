"""How each language says the same things; the conformance suite runs every sentence in every dialect."""

from __future__ import annotations

import base64
import gzip
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wasmtime import wat2wasm

Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One runtime in one isolation. None where the language has no such thing."""

    runtime: str
    isolation: str
    hello: Spec
    """Prints `out` on stdout."""
    both_streams: Spec
    """Prints `1` on stdout, `2` on stderr, `3` on stdout, in this order."""
    exit_3: Spec
    echo_stdin: Spec
    """Copies stdin to stdout."""
    loop: Spec
    """Never ends, and computes all the time."""
    broken: Spec | None
    """Cannot even be loaded."""
    raises: Spec | None
    """Ends by an uncaught exception or a trap."""
    memory_hog: Spec
    flood: Spec
    """Prints without end."""
    identity: Spec | None = None
    """A function that returns its input."""
    args_and_env: Spec | None = None
    """Writes `{"args": [...], "env": value of K}` as its output."""
    sees_other_files: Spec | None = None
    """Outputs the names it sees in its work folder."""
    host_secrets: Spec | None = None
    """Outputs a list of host files it could read among well-known ones."""

    def __str__(self) -> str:
        return f"{self.runtime}-{self.isolation}"


def archive(files: Mapping[str, bytes]) -> str:
    """A base64 tar.gz of these files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return base64.b64encode(gzip.compress(plain.getvalue(), mtime=0)).decode()


def js(code: str, **members: Any) -> Spec:
    return {"code": code, **members}


def wasm(body: str, imports: str = "", data: str = "") -> Spec:
    """A WASI command whose `_start` is `body`; `$write fd address length` writes text that lies in memory."""
    text = f"""
    (module
      (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
      {imports}
      (memory (export "memory") 2)
      (data (i32.const 64) "out\\n1\\n2\\n3\\n{data}")
      (func $write (param $fd i32) (param $at i32) (param $length i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $length))
        (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
      (func (export "_start") {body}))
    """
    return {"code": base64.b64encode(wat2wasm(text)).decode()}


NODE = Dialect(
    runtime="node",
    isolation="isolate",
    hello=js("console.log('out')"),
    both_streams=js("console.log(1); console.error(2); console.log(3)"),
    exit_3=js("Deno.exit(3)"),
    echo_stdin=js("for await (const chunk of Deno.stdin.readable) await Deno.stdout.write(chunk)"),
    loop=js("for (;;) {}"),
    broken=js("export default function ("),
    raises=js("\nfunction inner() {\n  throw new TypeError('it broke')\n}\ninner()"),
    memory_hog=js("const kept = []; for (;;) kept.push(new Array(100_000).fill(Math.random()))"),
    flood=js("for (;;) console.log('x'.repeat(1000))"),
    identity=js("export default (input: unknown) => input"),
    args_and_env=js(
        "Deno.writeTextFileSync(Deno.env.get('CAISSON_OUTPUT')!,"
        "JSON.stringify({args: Deno.args, env: Deno.env.get('K')}))"
    ),
    sees_other_files=js("export default () => [...Deno.readDirSync('.')].map((e) => e.name)"),
    host_secrets=js(
        "export default () => ['/etc/passwd', '/etc/shadow', '/proc/1/environ', '/root', '/home', '/var/lib']"
        ".filter((path) => { try { Deno.readTextFileSync(path); return true } catch { return false } })"
    ),
)

WASM = Dialect(
    runtime="wasm",
    isolation="isolate",
    hello=wasm("(call $write (i32.const 1) (i32.const 64) (i32.const 4))"),
    both_streams=wasm(
        "(call $write (i32.const 1) (i32.const 68) (i32.const 2))"
        "(call $write (i32.const 2) (i32.const 70) (i32.const 2))"
        "(call $write (i32.const 1) (i32.const 72) (i32.const 2))"
    ),
    exit_3=wasm("(call $proc_exit (i32.const 3))"),
    echo_stdin=wasm(
        """
        (loop $again
          (i32.store (i32.const 0) (i32.const 1024))
          (i32.store (i32.const 4) (i32.const 4096))
          (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
          (if (i32.load (i32.const 8)) (then
            (call $write (i32.const 1) (i32.const 1024) (i32.load (i32.const 8)))
            (br $again))))
        """
    ),
    loop=wasm("(loop $again (br $again))"),
    broken={"code": base64.b64encode(b"no module at all").decode()},
    raises=wasm("(unreachable)"),
    memory_hog=wasm(
        "(loop $again (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $again))"
    ),
    flood=wasm("(loop $again (call $write (i32.const 1) (i32.const 64) (i32.const 4)) (br $again))"),
)

IN_ISOLATES = (NODE, WASM)
