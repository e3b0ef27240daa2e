"""Runs one Python workload for the agent: an interpreter that is up and waits for START on descriptor 3.

Runs inside a sandbox, with the standard library and nothing else of the project within reach. What is used after user
code began is bound to names of this module, for user code may replace whatever other modules hold.

In gVisor an import costs a millisecond and more, so what is imported here at first is what a function needs that ends
well. The rest comes while nothing is to be done, see `rehearse`, or when it is needed, see `traces`.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
from _symtable import DEF_BOUND, symtable  # type: ignore[import-not-found] # CPython has it, typeshed does not
from _thread import RLock
from builtins import (  # noqa: UP029 - names of this module, since a program may replace those of `builtins`
    BaseException,
    bytearray,
    bytes,
    getattr,
    int,
    isinstance,
    len,
    list,
    memoryview,
    range,
    str,
    type,
)
from fcntl import F_DUPFD_CLOEXEC, fcntl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, ModuleType
    from typing import Any

HEADER_BYTES, FIELD_BYTES = 9, 5
MOST_BYTES = 60_000
"""Of one frame to the agent, which accepts a little more."""
READY, RENEWED, STARTED, STDOUT, STDERR, RESULT, EXCEPTION, EXIT = 0x02, 0x03, 0x04, 0x10, 0x11, 0x12, 0x13, 0x14
START, RENEW, INPUT = 0x42, 0x45, 0x46
TAG_RUNTIME_VERSION, TAG_ENV, TAG_CWD, TAG_ENTRYPOINT, TAG_ARG, TAG_INPUT = 4, 17, 18, 19, 20, 21
TAG_OUTPUT_PATH, TAG_SIZE, TAG_CODE, TAG_MESSAGE, TAG_TRACE, TAG_KIND, TAG_REHEARSE = 22, 34, 48, 53, 54, 55, 69
READ_BYTES = 1 << 16
CHANNEL_FROM = 512
"""Descriptors from here on are out of the way of programs that close or replace low ones."""
WORK = os.getcwd()
START_ANEW = 75
"""The exit code by which the agent knows that it is to start this harness again."""
READY_FIRST = "--ready-first"
"""Say READY as soon as a workload could be run, and get faster afterwards, when there has been nothing to do for
`IDLE_MS`. Not for copies, which are made of what says READY."""
IDLE_MS = 50
SAMPLE = {"a": [1, -1.5, None, True, "\u00fc\n"]}
STANDARD_PATH = tuple(sys.path[1:] if sys.path[0] == os.path.dirname(__file__) else sys.path)
FOLDER = os.path.dirname(__file__)

_read, _write, _exit = os.read, os.write, os._exit
Module = type(sys)


async def _nothing() -> None:
    """Shows what an async function gives when it is called."""


_begun = _nothing()
Coroutine = type(_begun)
_own_modules: dict[str, ModuleType] = {}
_begun.close()


class Channel:
    """Frames to and from the agent. A forked child has none: it writes to the plain pipes."""

    def __init__(self, fd: int) -> None:
        self._fd = fcntl(fd, F_DUPFD_CLOEXEC, CHANNEL_FROM)
        os.close(fd)
        self._received = bytearray()
        self._lock = RLock()
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
            self._send_all(header(len(piece), kind) + piece)

    def receive(self) -> tuple[int, bytes]:
        """The next frame."""
        head = self._read_exactly(HEADER_BYTES)
        return head[4], self._read_exactly(int.from_bytes(head[:4], "big"))

    def is_silent(self, for_ms: int) -> bool:
        """True if nothing arrives for so long."""
        from select import POLLIN, poll

        waiting = poll()
        waiting.register(self._fd, POLLIN)
        return not self._received and not waiting.poll(for_ms)

    def end(self, code: int, result: bytes | None) -> None:
        """Tell the end, together with the result if it is small, and stay until the agent ends this process."""
        if result is not None and len(result) > MOST_BYTES:
            self.send(RESULT, result)
            result = None
        last = b"" if result is None else header(len(result), RESULT) + result
        message = field(TAG_CODE, code.to_bytes(8, "big"))
        self._send_all(last + header(len(message), EXIT) + message)
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


def codec() -> tuple[Callable[[bytes], object], Callable[[object], str]]:
    """What reads and writes JSON as `json` does, without what that imports: `re`, and some ten modules more."""
    from _json import encode_basestring, make_encoder, make_scanner

    class Reading:
        strict = True
        object_hook = object_pairs_hook = None
        parse_float, parse_int, parse_constant = float, int, float

    def refuse(value: object) -> None:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")

    scan = make_scanner(Reading)  # type: ignore[arg-type] # whatever has these attributes

    def loads(text: bytes) -> object:
        return scan(text.decode("utf-8", "surrogatepass").lstrip(), 0)[0]

    def dumps(value: object) -> str:
        return "".join(make_encoder({}, refuse, encode_basestring, None, ":", ",", False, False, False)(value, 0))

    if loads(dumps([SAMPLE]).encode()) != [SAMPLE]:
        raise ValueError("these are not the halves of `json` that are known here")
    return loads, dumps


def whole_codec() -> tuple[Callable[[bytes], object], Callable[[object], str]]:
    """The same from `json` itself."""
    import json

    return json.loads, lambda value: json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def header(length: int, kind: int) -> bytes:
    """What comes before a payload; the number of the stream means nothing here."""
    return length.to_bytes(4, "big") + kind.to_bytes(5, "little")


def field(tag: int, value: bytes) -> bytes:
    """One field of a message."""
    return tag.to_bytes(1, "big") + len(value).to_bytes(4, "big") + value


def fields(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and value of each field of a message."""
    offset = 0
    while offset < len(payload):
        begin = offset + FIELD_BYTES
        end = begin + int.from_bytes(payload[offset + 1 : begin], "big")
        yield payload[offset], payload[begin:end]
        offset = end


def message(*given: tuple[int, str, int]) -> bytes:
    """The payload of a message from tag, text, and the most bytes of it."""
    return b"".join([field(tag, text.encode("utf-8", "replace")[:most]) for tag, text, most in given])


def wait(channel: Channel) -> Start:
    """Wait for START and the whole input."""
    while True:
        kind, payload = channel.receive()
        if kind == START:
            break
        if kind == RENEW and any(tag == TAG_REHEARSE for tag, _ in fields(payload)):
            rehearsal().rehearse_well()
            channel.send(RENEWED)
        elif kind == RENEW:
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


def defines_handler(source: bytes, code: CodeType) -> bool:
    """True if a module binds the name `handler` at its top: by def, import or assignment."""
    if "handler" not in code.co_names:
        return False
    flags: int = symtable(source, "main", "exec").symbols.get("handler", 0)
    return bool(flags & DEF_BOUND)


class Program:
    """One run of user code."""

    def __init__(self, channel: Channel, start: Start, entry: str) -> None:
        self._channel = channel
        self._start = start
        self._entry = entry
        self._loading = True
        self._module = Module("__main__")
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
        threading = sys.modules.get("threading")
        if threading is None or threading.active_count() == 1:
            self._module.__dict__.clear()

    def _load(self) -> None:
        source = contents(self._entry)
        try:
            code = compile(source, self._entry, "exec", dont_inherit=True)
        except (ValueError, RecursionError, MemoryError) as error:
            if isinstance(error, SyntaxError):
                raise
            raise SyntaxError(f"the file cannot be compiled: {error}", (self._entry, None, None, None)) from None
        self.is_function = defines_handler(source, code)
        if self.is_function:
            self._module.__name__ = os.path.basename(self._entry).partition(".")[0]
            sys.modules.setdefault(self._module.__name__, self._module)
        self._module.__file__ = self._entry
        sys.modules["__main__"] = self._module
        exec(code, self._module.__dict__)  # noqa: S102 - that is what this is for

    def _call(self, handler: object) -> None:
        result = handler(loads(self._start.input))  # type: ignore[operator] # checked by the caller
        if isinstance(result, Coroutine):
            import asyncio

            result = asyncio.run(result)
        self.result = dumps(result).encode()

    def _exit_code(self, code: object) -> int:
        if code is None:
            return 0
        if isinstance(code, int):
            return code & 0xFF
        attempt(lambda: self._channel.send(STDERR, f"{code}\n".encode("utf-8", "replace")))
        return 1

    def _report(self, error: BaseException) -> None:
        flush()
        text = attempt(lambda: str(error)) or ""
        plain = f"{type(error).__name__}: {text}"
        words = attempt(traces)
        kind = type(error).__qualname__ if words is None else words.kind_of(error, self._loading, WORK)
        trace = plain if words is None else attempt(lambda: words.trace_of(error, WORK)) or plain
        self._channel.send(STDERR, (trace + "\n").encode("utf-8", "replace"))
        self._channel.send(
            EXCEPTION, message((TAG_KIND, kind, 500), (TAG_MESSAGE, text, 8_000), (TAG_TRACE, trace, 48_000))
        )


def attempt(action: Callable[[], Any]) -> Any:
    """What it returns, or None if it cannot be done: user code may have spoiled anything."""
    try:
        return action()
    except BaseException:
        return None


def is_users(path: object) -> bool:
    """True for a file of the user's."""
    return isinstance(path, str) and path.startswith(WORK + "/")


def own_module(name: str) -> ModuleType:
    """A module that lies beside this file, and with it what it needs of the standard library.

    Files and modules of the user's may have the same names as those, and must not come in their place, nor it in
    theirs.
    """
    if name in _own_modules:
        return _own_modules[name]
    users = {
        name: module
        for name, module in list(sys.modules.items())
        if name != "__main__" and is_users(getattr(module, "__file__", None))
    }
    for each in users:
        del sys.modules[each]
    path = sys.path
    sys.path = [FOLDER, *STANDARD_PATH]
    try:
        __import__(name)
        _own_modules[name] = sys.modules.pop(name)
    finally:
        sys.path = path
        sys.modules.update(users)
    return _own_modules[name]


def traces() -> ModuleType:
    """The module that words exceptions."""
    return own_module("python_traces")


def rehearsal() -> ModuleType:
    """The module that does each thing once before it counts."""
    return own_module("python_rehearsal")


loads, dumps = attempt(codec) or whole_codec()


def flush() -> None:
    """Send what the program printed and is still held back."""
    for stream in (sys.stdout, sys.stderr):
        attempt(stream.flush)


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
    early = READY_FIRST in sys.argv
    if not early:
        rehearsal().rehearse()
    version = sys.version.partition(" ")[0]
    channel.send(READY, message((TAG_RUNTIME_VERSION, f"python {version}", 200)))
    if early and channel.is_silent(IDLE_MS):
        rehearsal().rehearse()
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
