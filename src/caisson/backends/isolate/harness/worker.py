"""Runs one WebAssembly module for the host: waits for START on the channel, reports output, result and traps as frames.

Runs jailed, with the standard library and wasmtime and nothing else of the project within reach.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wasmtime import Config, Engine, ExitTrap, Linker, Memory, Module, Store, Trap, WasiConfig, WasmtimeError

VERSION = 1
HEADER = struct.Struct(">IBI")
FIELD = struct.Struct(">BI")
MAX_PAYLOAD = 1 << 20
MAGIC = b"\0asm"
HELLO, READY, STARTED, STDOUT, STDERR, RESULT, EXCEPTION, EXIT = 0x01, 0x02, 0x04, 0x10, 0x11, 0x12, 0x13, 0x14
START, PING, PONG = 0x42, 0x70, 0x71
TAG_VERSION, TAG_NONCE, TAG_RUNTIME_VERSION, TAG_ENV, TAG_ENTRYPOINT, TAG_ARG = 1, 2, 4, 17, 19, 20
TAG_OUTPUT_PATH, TAG_LIMIT_TIME_MS, TAG_CODE, TAG_MESSAGE, TAG_TRACE, TAG_KIND = 22, 28, 48, 53, 54, 55
TAG_SIZE = 34
WORK = Path("/work")
TMP = "/tmp"  # noqa: S108 - of this sandbox alone


Failure = WasmtimeError | Trap


class InvalidModule(Exception):
    """It is no WebAssembly module, or none that can be run as a command."""


@dataclass
class Start:
    """The workload, as far as this harness needs to know it."""

    entrypoint: str = ""
    args: list[str] = field(default_factory=list)
    env: list[tuple[str, str]] = field(default_factory=list)
    output_path: str = ""
    limit_time_ms: int = 0
    input_bytes: int = 0


class Channel:
    """The guest's side of the framed channel, over two FIFOs."""

    def __init__(self, folder: str) -> None:
        self._read_fd = os.open(f"{folder}/in", os.O_RDONLY | os.O_CLOEXEC)
        self._write_fd = os.open(f"{folder}/out", os.O_WRONLY | os.O_CLOEXEC)

    def send(self, type: int, payload: bytes = b"") -> None:
        """Write the payload in one or more frames."""
        for offset in range(0, len(payload) or 1, MAX_PAYLOAD):
            piece = payload[offset : offset + MAX_PAYLOAD]
            frame = memoryview(HEADER.pack(len(piece), type, 0) + piece)
            while frame:
                frame = frame[os.write(self._write_fd, frame) :]

    def receive_start(self) -> Start:
        """Wait for START, answering PING. An input too large for it is read and forgotten: stdin has it too."""
        type_, payload = self._receive()
        while type_ != START:
            if type_ == PING:
                self.send(PONG, payload)
            type_, payload = self._receive()
        start = read_start(payload)
        while start.input_bytes > 0:
            _, payload = self._receive()
            start.input_bytes -= len(payload)
        return start

    def await_end(self) -> None:
        """Stay until the host, which has all it needs, ends this process; or until the host is gone."""
        os.read(self._read_fd, 1)
        os._exit(0)

    def _receive(self) -> tuple[int, bytes]:
        length, type_, _ = HEADER.unpack(self._read_exactly(HEADER.size))
        return type_, self._read_exactly(length)

    def _read_exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            piece = os.read(self._read_fd, length - len(data))
            if not piece:
                # The host is gone, and with it the reason to be.
                os._exit(0)
            data += piece
        return bytes(data)


def read_start(payload: bytes) -> Start:
    """From the fields of a START; those that mean nothing here are skipped."""
    start = Start()
    offset = 0
    while offset < len(payload):
        tag, length = FIELD.unpack_from(payload, offset)
        offset += FIELD.size
        value = payload[offset : offset + length]
        offset += length
        if tag == TAG_LIMIT_TIME_MS:
            start.limit_time_ms = int.from_bytes(value, "big")
        elif tag == TAG_SIZE:
            start.input_bytes = int.from_bytes(value, "big")
        elif tag == TAG_ENTRYPOINT:
            start.entrypoint = value.decode()
        elif tag == TAG_OUTPUT_PATH:
            start.output_path = value.decode()
        elif tag == TAG_ARG:
            start.args.append(value.decode())
        elif tag == TAG_ENV:
            name, _, text = value.decode().partition("=")
            start.env.append((name, text))
    return start


def message(*fields: tuple[int, bytes | str | int]) -> bytes:
    """The payload of a message."""
    parts = []
    for tag, value in fields:
        data = (
            value.to_bytes(8, "big") if isinstance(value, int) else value.encode() if isinstance(value, str) else value
        )
        parts.append(FIELD.pack(tag, len(data)) + data)
    return b"".join(parts)


class Program:
    """One module and the store it runs in."""

    def __init__(self, engine: Engine, start: Start, memory_bytes: int, channel: Channel) -> None:
        self._engine = engine
        self._start = start
        self._memory_bytes = memory_bytes
        self._memory: Memory | None = None
        self._store = Store(engine)
        self._store.set_limits(memory_size=memory_bytes)
        self._store.set_epoch_deadline(1)
        self._store.set_wasi(self._wasi(channel))

    def run(self) -> int:
        """Run `_start` to its end. Raises InvalidModule, or a Failure for what the module does wrong."""
        code = (WORK / self._start.entrypoint).read_bytes()
        if not code.startswith(MAGIC):
            raise InvalidModule("this is no WebAssembly module: it does not begin with \\0asm")
        try:
            module = Module(self._engine, code)
        except WasmtimeError as error:
            raise InvalidModule(str(error)) from error
        linker = Linker(self._engine)
        linker.define_wasi()
        try:
            instance = linker.instantiate(self._store, module)
        except WasmtimeError as error:
            if self.out_of_memory(error):
                raise
            raise InvalidModule(str(error)) from error
        exports = instance.exports(self._store)
        memory, entry = exports.get("memory"), exports.get("_start")
        self._memory = memory if isinstance(memory, Memory) else None
        if not callable(entry):
            raise InvalidModule("the module exports no function `_start`: it is no WASI command")
        self._keep_deadline()
        try:
            entry(self._store)
        except ExitTrap as end:
            return end.code
        return 0

    def out_of_memory(self, error: Failure) -> bool:
        """True if the limit on memory is the likely cause: growth fails softly, and only then does a program trap."""
        if "memory limits" in str(error) or "memory minimum size" in str(error):
            return True
        # Allocators double what they have, so the growth that failed began from at least half of the limit.
        return self._memory is not None and self._memory.data_len(self._store) * 2 > self._memory_bytes

    def _keep_deadline(self) -> None:
        if self._start.limit_time_ms:
            timer = threading.Timer(self._start.limit_time_ms / 1000, self._engine.increment_epoch)
            timer.daemon = True
            timer.start()

    def _wasi(self, channel: Channel) -> WasiConfig:
        wasi = WasiConfig()
        wasi.argv = [self._start.entrypoint, *self._start.args]
        wasi.env = self._start.env
        wasi.inherit_stdin()
        wasi.stdout_custom = to_channel(channel, STDOUT)
        wasi.stderr_custom = to_channel(channel, STDERR)
        for inside in (str(WORK), "."):
            wasi.preopen_dir(str(WORK), inside, False)
        wasi.preopen_dir(TMP, TMP, True)
        return wasi


def to_channel(channel: Channel, type: int) -> Callable[[bytes], None]:
    """What wasmtime calls with each piece of output."""

    def write(data: bytes) -> None:
        channel.send(type, data)

    return write


def carry_out(engine: Engine, start: Start, memory_bytes: int, channel: Channel) -> int:
    """Run the workload, report what went wrong with it, and return the exit code."""
    program = Program(engine, start, memory_bytes, channel)
    try:
        return program.run()
    except InvalidModule as error:
        kind, text, trace = "invalid_code", str(error), str(error)
    except (WasmtimeError, Trap) as error:
        kind, text, trace = describe(error, program.out_of_memory(error))
    channel.send(STDERR, (trace + "\n").encode())
    channel.send(EXCEPTION, message((TAG_KIND, kind), (TAG_MESSAGE, text), (TAG_TRACE, trace)))
    return 1


def describe(error: Failure, out_of_memory: bool) -> tuple[str, str, str]:
    """Kind, message and trace."""
    trace = str(error).strip()
    cause = [line.strip() for line in trace.splitlines() if "wasm trap:" in line]
    text = cause[-1].partition("wasm trap:")[2].strip() if cause else trace.splitlines()[0]
    if out_of_memory:
        return "OutOfMemory", f"out of memory: {text}", trace
    return "Trap", text, trace


def send_output_file(path: str, channel: Channel) -> None:
    """What the program left as its output, if anything."""
    try:
        with Path(path).open("rb") as file:
            while piece := file.read(MAX_PAYLOAD):
                channel.send(RESULT, piece)
    except OSError:
        return


def main() -> None:
    """Boot, wait, run, end."""
    nonce, folder, memory_mb = sys.argv[1:]
    channel = Channel(folder)
    config = Config()
    config.epoch_interruption = True
    engine = Engine(config)
    # Compiled once before it counts: the first use of the compiler sets up much.
    Module(engine, b"\0asm\1\0\0\0")
    channel.send(HELLO, message((TAG_VERSION, VERSION), (TAG_NONCE, bytes.fromhex(nonce))))
    channel.send(READY, message((TAG_RUNTIME_VERSION, "wasmtime")))
    start = channel.receive_start()
    channel.send(STARTED)
    code = carry_out(engine, start, int(memory_mb) << 20, channel)
    send_output_file(start.output_path, channel)
    channel.send(EXIT, message((TAG_CODE, code & 0xFF)))
    channel.await_end()


if __name__ == "__main__":
    main()
