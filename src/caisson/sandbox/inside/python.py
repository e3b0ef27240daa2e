"""Runs one Python workload for the agent: an interpreter that is up and waits for START on descriptor 3.

Runs inside a sandbox, with the standard library and nothing else of the project within reach. What is used after user
code began is bound to names of this module, for user code may replace whatever other modules hold.
"""

from __future__ import annotations

import atexit
import dis
import gc
import io
import json
import linecache  # noqa: F401 - used by traceback, and imported here so that it need not be later
import os
import struct
import sys
import threading
import traceback
import types
from builtins import (  # noqa: UP029 - names of this module, since a program may replace those of `builtins`
    BaseException,
    OSError,
    SyntaxError,
    bytearray,
    bytes,
    getattr,
    id,
    int,
    isinstance,
    len,
    memoryview,
    range,
    set,
    str,
    type,
)
from collections.abc import Iterator
from contextlib import suppress
from errno import EDQUOT, ENOSPC

HEADER = struct.Struct(">IBI")
FIELD = struct.Struct(">BI")
MOST_BYTES = 60_000
"""Of one frame to the agent, which accepts a little more."""
READY, RENEWED, STARTED, STDOUT, STDERR, RESULT, EXCEPTION, EXIT = 0x02, 0x03, 0x04, 0x10, 0x11, 0x12, 0x13, 0x14
START, RENEW, INPUT = 0x42, 0x45, 0x46
TAG_RUNTIME_VERSION, TAG_ENV, TAG_CWD, TAG_ENTRYPOINT, TAG_ARG, TAG_INPUT = 4, 17, 18, 19, 20, 21
TAG_OUTPUT_PATH, TAG_SIZE, TAG_CODE, TAG_MESSAGE, TAG_TRACE, TAG_KIND = 22, 34, 48, 53, 54, 55
READ_BYTES = 1 << 16
CHANNEL_FROM = 512
"""Descriptors from here on are out of the way of programs that close or replace low ones."""
WORK = os.getcwd()
START_ANEW = 75
"""The exit code by which the agent knows that it is to start this harness again."""

_read, _write, _exit = os.read, os.write, os._exit
_dumps, _loads = json.dumps, json.loads


class Channel:
    """Frames to and from the agent. A forked child has none: it writes to the plain pipes."""

    def __init__(self, fd: int) -> None:
        import fcntl

        self._fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, CHANNEL_FROM)
        os.close(fd)
        self._received = bytearray()
        self._lock = threading.RLock()
        self._forked = False
        os.register_at_fork(after_in_child=self._leave)

    def send(self, kind: int, payload: bytes | memoryview = b"") -> None:
        """Write the payload in as many frames as it takes."""
        if self._forked:
            self._send_plain(kind, payload)
            return
        view = memoryview(payload)
        for offset in range(0, len(view) or 1, MOST_BYTES):
            piece = view[offset : offset + MOST_BYTES]
            self._send_all(HEADER.pack(len(piece), kind, 0) + piece)

    def receive(self) -> tuple[int, bytes]:
        """The next frame."""
        length, kind, _ = HEADER.unpack(self._read_exactly(HEADER.size))
        return kind, self._read_exactly(length)

    def end(self, code: int, result: bytes | None) -> None:
        """Tell the end, together with the result if it is small, and stay until the agent ends this process."""
        if result is not None and len(result) > MOST_BYTES:
            self.send(RESULT, result)
            result = None
        last = b"" if result is None else HEADER.pack(len(result), RESULT, 0) + result
        message = FIELD.pack(TAG_CODE, 8) + code.to_bytes(8, "big")
        self._send_all(last + HEADER.pack(len(message), EXIT, 0) + message)
        _read(self._fd, 1)

    def _read_exactly(self, length: int) -> bytes:
        while len(self._received) < length:
            piece = _read(self._fd, READ_BYTES)
            if not piece:
                # The agent is gone, and with it the reason to be.
                _exit(0)
            self._received += piece
        data = bytes(self._received[:length])
        del self._received[:length]
        return data

    def _send_all(self, frames: bytes) -> None:
        with self._lock:
            sent = _write(self._fd, frames)
            while sent < len(frames):
                sent += _write(self._fd, frames[sent:])

    def _send_plain(self, kind: int, payload: bytes | memoryview) -> None:
        fd = {STDOUT: 1, STDERR: 2}.get(kind)
        view = memoryview(payload)
        while fd is not None and len(view):
            view = view[_write(fd, view) :]

    def _leave(self) -> None:
        self._forked = True


class Raw(io.RawIOBase):
    """What lies below `sys.stdout` and `sys.stderr`: both travel on the channel, which keeps their order."""

    def __init__(self, channel: Channel, kind: int, fd: int, name: str) -> None:
        self._channel = channel
        self._kind = kind
        self._number = fd
        self.name = name

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def write(self, data: bytes) -> int:  # type: ignore[override] # any buffer, as the base class says
        self._channel.send(self._kind, data)
        return memoryview(data).nbytes


class Start:
    """The workload, as far as this harness needs to know it."""

    def __init__(self, payload: bytes) -> None:
        self.entrypoint = self.cwd = self.output_path = ""
        self.args: list[str] = []
        self.env: list[tuple[str, str]] = []
        self.input = b"null"
        self.input_bytes = 0
        for tag, value in fields(payload):
            if tag == TAG_INPUT:
                self.input = value
            elif tag == TAG_SIZE:
                self.input_bytes = int.from_bytes(value, "big")
            elif tag == TAG_ENTRYPOINT:
                self.entrypoint = os.fsdecode(value)
            elif tag == TAG_CWD:
                self.cwd = os.fsdecode(value)
            elif tag == TAG_OUTPUT_PATH:
                self.output_path = os.fsdecode(value)
            elif tag == TAG_ARG:
                self.args.append(os.fsdecode(value))
            elif tag == TAG_ENV:
                name, _, text = os.fsdecode(value).partition("=")
                self.env.append((name, text))


def fields(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and value of each field of a message."""
    offset = 0
    while offset < len(payload):
        tag, length = FIELD.unpack_from(payload, offset)
        offset += FIELD.size + length
        yield tag, payload[offset - length : offset]


def message(*given: tuple[int, str, int]) -> bytes:
    """The payload of a message from tag, text, and the most bytes of it."""
    parts = []
    for tag, text, most in given:
        data = text.encode("utf-8", "replace")[:most]
        parts.append(FIELD.pack(tag, len(data)) + data)
    return b"".join(parts)


def wait(channel: Channel) -> Start:
    """Wait for START and the whole input."""
    while True:
        kind, payload = channel.receive()
        if kind == START:
            break
        if kind == RENEW:
            if "--restart-on-renew" in sys.argv:
                _exit(START_ANEW)
            if "random" in sys.modules:
                sys.modules["random"].seed()
            channel.send(RENEWED)
    start = Start(payload)
    if start.input_bytes:
        pieces = bytearray()
        while len(pieces) < start.input_bytes:
            pieces += channel.receive()[1]
        start.input = bytes(pieces)
    return start


def prepare(start: Start) -> str:
    """Make the process what the program expects; the path of its entry file."""
    os.environ.update(start.env)
    os.environ["CAISSON_OUTPUT"] = os.path.join(WORK, start.output_path)
    if os.environ.get("TZ"):
        import time

        time.tzset()
    if start.cwd:
        os.chdir(start.cwd)
    entry = os.path.join(WORK, start.entrypoint)
    sys.argv = [start.entrypoint, *start.args]
    folder = os.path.dirname(entry)
    sys.path[:0] = [folder] if folder == WORK else [folder, WORK]
    return entry


def contents(path: str) -> bytes:
    """Of a file, with as few system calls as there can be: in gVisor each costs."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    pieces = []
    while piece := _read(fd, READ_BYTES):
        pieces.append(piece)
    os.close(fd)
    return b"".join(pieces)


def defines_handler(code: types.CodeType) -> bool:
    """True if a module binds the name `handler` at its top: by def, import or assignment."""
    return "handler" in code.co_names and any(
        step.opname in ("STORE_NAME", "STORE_GLOBAL") and step.argval == "handler"
        for step in dis.get_instructions(code)
    )


class Program:
    """One run of user code."""

    def __init__(self, channel: Channel, start: Start, entry: str) -> None:
        self._channel = channel
        self._start = start
        self._entry = entry
        self._loading = True
        self._module = types.ModuleType("__main__")
        self.is_function = False
        self.result: bytes | None = None

    def run(self) -> int:
        """Its exit code; an exception was sent, and a result is in `result`."""
        try:
            self._load()
            handler = self._module.__dict__.get("handler") if self.is_function else None
            if callable(handler):
                self._loading = False
                self._call(handler)
        except SystemExit as end:
            return self._exit_code(end.code)
        except BaseException as error:
            self._report(error)
            return 1
        return 0

    def forget(self) -> None:
        """Let go of what the module holds, so that files it left open are written to their end."""
        if threading.active_count() == 1:
            self._module.__dict__.clear()

    def _load(self) -> None:
        source = contents(self._entry)
        try:
            code = compile(source, self._entry, "exec", dont_inherit=True)
        except (ValueError, RecursionError, MemoryError) as error:
            if isinstance(error, SyntaxError):
                raise
            raise SyntaxError(f"the file cannot be compiled: {error}", (self._entry, None, None, None)) from None
        self.is_function = defines_handler(code)
        if self.is_function:
            self._module.__name__ = os.path.basename(self._entry).partition(".")[0]
            sys.modules.setdefault(self._module.__name__, self._module)
        self._module.__file__ = self._entry
        sys.modules["__main__"] = self._module
        exec(code, self._module.__dict__)  # noqa: S102 - that is what this is for

    def _call(self, handler: object) -> None:
        result = handler(_loads(self._start.input))  # type: ignore[operator] # checked by the caller
        if isinstance(result, types.CoroutineType):
            import asyncio

            result = asyncio.run(result)
        text = _dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self.result = text.encode()

    def _exit_code(self, code: object) -> int:
        if code is None:
            return 0
        if isinstance(code, int):
            return code & 0xFF
        with suppress(BaseException):
            self._channel.send(STDERR, f"{code}\n".encode("utf-8", "replace"))
        return 1

    def _report(self, error: BaseException) -> None:
        flush()
        kind, text = kind_of(error, self._loading), ""
        with suppress(BaseException):
            text = str(error)
        try:
            trace = trace_of(error)
        except BaseException:
            trace = f"{type(error).__name__}: {text}"
        self._channel.send(STDERR, (trace + "\n").encode("utf-8", "replace"))
        self._channel.send(
            EXCEPTION, message((TAG_KIND, kind, 500), (TAG_MESSAGE, text, 8_000), (TAG_TRACE, trace, 48_000))
        )


def kind_of(error: BaseException, loading: bool) -> str:
    """The word for an exception in EXCEPTION."""
    if loading and isinstance(error, SyntaxError) and is_users(str(error.filename)):
        return "invalid_code"
    if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
        return "disk_full"
    return type(error).__qualname__


def is_users(path: str) -> bool:
    """True for a file of the user's."""
    return path.startswith(WORK + "/")


def trace_of(error: BaseException) -> str:
    """The traceback with the user's files and lines only, named as the user knows them."""
    whole = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
    waiting, seen = [whole], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        kept = []
        for frame in part.stack:
            if is_users(frame.filename):
                frame.line  # noqa: B018 - read from the file now, while its name is the real one
                frame.filename = frame.filename[len(WORK) + 1 :]
                kept.append(frame)
        part.stack[:] = kept
        name: object = getattr(part, "filename", None)
        if isinstance(name, str) and is_users(name):
            part.filename = name[len(WORK) + 1 :]
        others = [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]
        waiting += [other for other in others if other is not None]
    lines = "".join(whole.format()).rstrip("\n")
    # A heading with no line below it, where the error came from outside the user's files.
    if not whole.stack and lines.startswith("Traceback (most recent call last):\n"):
        lines = lines.partition("\n")[2]
    return lines


def flush() -> None:
    """Send what the program printed and is still held back."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()


def replace_outputs(channel: Channel) -> None:
    """Let prints travel on the channel, line by line."""
    for name, kind, fd, errors in (
        ("stdout", STDOUT, 1, "surrogateescape"),
        ("stderr", STDERR, 2, "backslashreplace"),
    ):
        buffer = io.BufferedWriter(Raw(channel, kind, fd, f"<{name}>"))  # type: ignore[type-var] # RawIOBase is enough
        stream = io.TextIOWrapper(buffer, encoding="utf-8", errors=errors, line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def main() -> None:
    """Boot, wait, run, end."""
    channel = Channel(3)
    replace_outputs(channel)
    # Each thing is done once before it counts.
    try:
        exec(compile("def handler(): 1 / 0\nhandler()", "<warm>", "exec"), {"__name__": "warm"})  # noqa: S102
    except ZeroDivisionError as error:
        trace_of(error)
    defines_handler(compile("handler = 1", "<warm>", "exec"))
    _loads(_dumps({"a": 1}))
    gc.collect()
    gc.freeze()
    version = sys.version.partition(" ")[0]
    channel.send(READY, message((TAG_RUNTIME_VERSION, f"python {version}", 200)))
    start = wait(channel)
    program = Program(channel, start, prepare(start))
    channel.send(STARTED)
    code = program.run()
    if not program.is_function:
        flush()
        sys.exit(code)
    atexit._run_exitfuncs()
    program.forget()
    flush()
    # The agent ends this process at once; its own way to its end would be part of what the host waits for.
    channel.end(code, program.result)
    _exit(code)


if __name__ == "__main__":
    main()
