"""WebAssembly command modules in a jailed wasmtime: WASI, exit codes, traps, limits."""

from __future__ import annotations

from typing import Any

import pytest
from wasmtime import wat2wasm

from caisson.backends.isolate.backend import IsolateBackend
from caisson.model import Resources, Runtime
from tests.helpers.sandboxes import Ran, job, run_job

IMPORTS = """
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
"""
HELPERS = """
    (memory (export "memory") 2)
    (func $write (param $fd i32) (param $at i32) (param $length i32)
        (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $length))
        (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
"""


def wat(body: str, data: str = "", memory: str = HELPERS) -> bytes:
    """A command module whose `_start` is `body`; `data` lies at 1024."""
    text = f'(module {IMPORTS} {memory} (data (i32.const 1024) "{data}") (func (export "_start") {body}))'
    return bytes(wat2wasm(text))


def run_wasm(isolate: IsolateBackend, module: bytes, timeout_s: float = 20, **rest: Any) -> Ran:
    """Run a module with 64 MiB."""
    rest.setdefault("resources", Resources(mem_mb=64, disk_mb=4))
    return run_job(isolate, job(module, runtime=Runtime.WASM, **rest), timeout_s)


def test_output_of_both_streams_keeps_its_order(isolate: IsolateBackend) -> None:
    """Writes arrive as they were made."""
    body = "".join(f"(call $write (i32.const {fd}) (i32.const 1024) (i32.const 2))" for fd in (1, 2, 1))
    ran = run_wasm(isolate, wat(body, "x\\n"))
    assert (ran.stdout, ran.stderr) == ("x\nx\n", "x\n")
    assert len(ran.events) == 4
    assert ran.exited.code == 0


@pytest.mark.parametrize("code", [0, 7, 125])
def test_the_exit_code_is_the_modules(isolate: IsolateBackend, code: int) -> None:
    """What `proc_exit` says is reported."""
    assert run_wasm(isolate, wat(f"(call $exit (i32.const {code}))")).exited.code == code


def test_input_is_on_stdin(isolate: IsolateBackend) -> None:
    """A module reads the input, which may be large, to its end."""
    body = """
        (loop $more
            (i32.store (i32.const 0) (i32.const 2048)) (i32.store (i32.const 4) (i32.const 4096))
            (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (if (i32.load (i32.const 8)) (then
                (call $write (i32.const 1) (i32.const 2048) (i32.load (i32.const 8))) (br $more))))
    """
    ran = run_wasm(isolate, wat(body), input="y" * 500_000)
    assert ran.stdout == '"' + "y" * 500_000 + '"'


def test_arguments_and_environment_arrive(isolate: IsolateBackend) -> None:
    """The entrypoint and the arguments, and no variables but the workload's own."""
    body = """
        (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
        (drop (call $args_get (i32.const 2048) (i32.const 4096)))
        (call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 20)))
        (drop (call $environ_sizes_get (i32.const 16) (i32.const 20)))
        (drop (call $environ_get (i32.const 2048) (i32.const 4096)))
        (call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 20)))
    """
    ran = run_wasm(isolate, wat(body), args=("a", "b c"), env={"K": "v"})
    assert ran.stdout.split("\0")[:-1] == [
        "main.wasm",
        "a",
        "b c",
        "K=v",
        "CAISSON_OUTPUT=/tmp/caisson-output.json",
    ]


def test_the_output_file_is_the_result(isolate: IsolateBackend) -> None:
    """What is written below /tmp to the file named by CAISSON_OUTPUT is the output."""
    body = """
        (drop (call $path_open (i32.const 5) (i32.const 0) (i32.const 1024) (i32.const 19) (i32.const 1)
            (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))
        (call $write (i32.load (i32.const 16)) (i32.const 1043) (i32.const 2))
    """
    assert run_wasm(isolate, wat(body, "caisson-output.json42")).result == 42


def test_the_work_folder_cannot_be_written(isolate: IsolateBackend) -> None:
    """/work is read-only."""
    body = """
        (call $exit (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 3) (i32.const 1)
            (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16)))
    """
    assert run_wasm(isolate, wat(body, "new")).exited.code not in (0, None)


def test_a_trap_is_an_exception_with_its_backtrace(isolate: IsolateBackend) -> None:
    """The kind of trap is the message, and the trace has wasm frames."""
    ran = run_wasm(isolate, wat("(drop (i32.div_u (i32.const 1) (i32.const 0)))"))
    assert ran.raised.kind == "Trap"
    assert "divide by zero" in ran.raised.message
    assert "wasm backtrace" in ran.raised.trace
    assert ran.exited.code == 1


@pytest.mark.parametrize(
    "module",
    [b"", b"not wasm", b"\0asm\1\0\0\0junk", bytes(wat2wasm("(module)")), wat("")[:-3]],
)
def test_what_is_no_command_module_is_invalid(isolate: IsolateBackend, module: bytes) -> None:
    """No module, a damaged one, and one without `_start`."""
    ran = run_wasm(isolate, module)
    assert ran.raised.kind == "invalid_code"
    assert ran.exited.code == 1


def test_an_unknown_import_is_invalid(isolate: IsolateBackend) -> None:
    """A module that needs more than WASI preview 1 is told what is missing."""
    ran = run_wasm(isolate, bytes(wat2wasm('(module (import "env" "magic" (func)) (func (export "_start")))')))
    assert ran.raised.kind == "invalid_code"
    assert "magic" in ran.raised.message


@pytest.mark.parametrize(
    "module",
    [
        wat(
            "(loop $l (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $l))",
        ),
        wat("", memory='(memory (export "memory") 8000)'),
    ],
)
def test_memory_beyond_the_limit_is_told_as_such(isolate: IsolateBackend, module: bytes) -> None:
    """A module that traps because it got no more memory, or wants too much at once."""
    assert run_wasm(isolate, module).exited.out_of_memory


def test_endless_recursion_is_an_exception(isolate: IsolateBackend) -> None:
    """The stack is limited."""
    ran = run_wasm(isolate, bytes(wat2wasm('(module (func $f (call $f)) (func (export "_start") (call $f)))')))
    assert "stack" in ran.raised.message


def test_an_endless_loop_is_ended_by_the_guest_too(isolate: IsolateBackend) -> None:
    """The epoch deadline is a second wall, a second behind the host's."""
    resources = Resources(mem_mb=64, disk_mb=4, timeout_s=0.2)
    ran = run_wasm(isolate, wat("(loop $l (br $l))"), resources=resources)
    assert "interrupt" in ran.raised.message
