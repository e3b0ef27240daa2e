"""The host's side of the guest agent: carries out one job over a channel, and renews copies of a sandbox.

Everything that comes back is hostile as soon as user code may have begun: streams, order, sizes, credit and text are
checked here or in `events.Reader`, and what is not allowed ends the sandbox as crashed.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field

from caisson.errors import SandboxCrashed, StartFailed
from caisson.sandbox.channel import Channel, ChannelClosed
from caisson.sandbox.contract import Event, Exited, Job, Output, Raised
from caisson.sandbox.delivery import file_frames
from caisson.sandbox.events import Reader
from caisson.sandbox.launch import Launch
from caisson.sandbox.protocol import (
    CONTROL_STREAM,
    INPUT_WINDOW,
    MAX_PAYLOAD,
    NONCE_BYTES,
    OUTPUT_WINDOW,
    Exit,
    Fault,
    Field,
    Fields,
    Frame,
    FrameType,
    ProtocolError,
    Start,
    Tag,
    encode_fields,
    encode_frame,
)

STREAM = 1
"""Of the program, unless the caller runs several one after the other."""
ENTROPY_BYTES = 256
CLOCK_S = 0.010
"""The most by which a renewed copy's clock may be behind the host's."""
_CLOCK_TRIES = 20
CLOCK_TRIES_S = 2.0
"""For so long a clock is set again, at most: where each answer is late, more tries make it no better."""
_INPUT_IN_START_BYTES = 256 * 1024
_MOST_CREDIT = 1 << 63
_COUNTED = frozenset({FrameType.STDOUT, FrameType.STDERR, FrameType.RESULT})
_CANNOT_EXECUTE = 126
_NOT_FOUND = 127


async def run(
    channel: Channel,
    job: Job,
    launch: Launch,
    *,
    stream: int = STREAM,
    on_exit: Callable[[Exit], None] | None = None,
    on_death: Callable[[], Awaitable[Exited | None]] | None = None,
) -> AsyncGenerator[Event, None]:
    """Deliver the job's files, begin it, and yield its events up to `Exited`. After the handshake, once on a `stream`.

    A caller that does not ask for the next event leaves the program without credit, so it waits. `on_exit` gets the
    agent's own account of the end: CPU time, peak memory. `on_death` is asked when the channel ends without EXIT after
    the program began: how it ended if the host knows (out of memory), or None.

    Raises StartFailed while user code has certainly not begun, SandboxCrashed when the sandbox dies or breaks the
    protocol afterwards. The caller ends the sandbox in any case.
    """
    conversation = _Conversation(channel, job, launch, stream)
    try:
        events = await conversation.begin()
        while True:
            for event in events:
                if isinstance(event, Exited) and on_exit is not None and conversation.exit is not None:
                    on_exit(conversation.exit)
                yield event
                conversation.taken(event)
                if isinstance(event, Exited):
                    return
            conversation.pump()
            events = conversation.hear(await channel.receive())
    except ChannelClosed as error:
        if not conversation.reader.started:
            raise StartFailed("the sandbox died before the program began", detail=f"{job.id}: {error}") from error
        end = await on_death() if on_death is not None else None
        if end is None:
            raise SandboxCrashed("the sandbox died", detail=f"{job.id}: {error}") from error
        yield end
    except ProtocolError as error:
        if not conversation.begun:
            raise StartFailed("the sandbox's agent broke the channel protocol", detail=f"{job.id}: {error}") from error
        raise SandboxCrashed("the program broke the channel protocol", detail=f"{job.id}: {error}") from error


@dataclass(frozen=True, slots=True)
class Renewal:
    """What makes a copy of a sandbox one of its own. The defaults are fresh; None leaves a thing as it is."""

    nonce: bytes = field(default_factory=lambda: secrets.token_bytes(NONCE_BYTES))
    entropy: bytes | None = field(default_factory=lambda: secrets.token_bytes(ENTROPY_BYTES))
    set_clock: bool = True
    hostname: str | None = None
    machine_id: str | None = field(default_factory=lambda: secrets.token_hex(16))
    keep_interpreter: bool = False
    """The interpreter that waits is in no other copy, and may stay as it is."""
    rehearse: bool = False
    """Nobody waits for it: let it do once what it does for a program, which is faster the next time."""


async def renew(channel: Channel, renewal: Renewal, now_s: Callable[[], float] = time.monotonic) -> None:
    """Have a waiting copy renew itself, and return when it has. The caller keeps the deadline.

    The time it was told is as old as the message was under way, which is long where the host is busy. Therefore a clock
    is set again until the answer came soon enough to prove it right to CLOCK_S, or _CLOCK_TRIES times, or for
    CLOCK_TRIES_S.

    What arrives before the answer belongs to the life of the original and is thrown away. Raises StartFailed if the
    agent could not do it, ProtocolError or ChannelClosed.
    """
    lag_s = await _renew_once(channel, renewal, now_s)
    tries = _CLOCK_TRIES if renewal.set_clock else 0
    give_up_at = now_s() + CLOCK_TRIES_S
    while lag_s > CLOCK_S and tries > 0 and now_s() < give_up_at:
        lag_s = await _renew_once(channel, Renewal(entropy=None, machine_id=None), now_s)
        tries -= 1


async def _renew_once(channel: Channel, renewal: Renewal, now_s: Callable[[], float]) -> float:
    """The seconds that passed from the reading of the host's clock to the answer."""
    fields: list[Field] = [(Tag.NONCE, renewal.nonce)]
    if renewal.entropy is not None:
        fields.append((Tag.ENTROPY, renewal.entropy))
    if renewal.hostname is not None:
        fields.append((Tag.HOSTNAME, renewal.hostname))
    if renewal.machine_id is not None:
        fields.append((Tag.MACHINE_ID, renewal.machine_id))
    if renewal.keep_interpreter:
        fields.append((Tag.KEEP, b""))
    if renewal.rehearse:
        fields.append((Tag.REHEARSE, b""))
    asked = now_s()
    if renewal.set_clock:
        fields.append((Tag.CLOCK_NS, time.time_ns()))
    await channel.send(encode_frame(FrameType.RENEW, encode_fields(fields)))
    while True:
        for frame in await channel.receive():
            if frame.type is FrameType.ERROR:
                raise StartFailed(
                    "a copy of a sandbox could not renew itself", detail=Fault.decode(frame.payload).message
                )
            if frame.type is FrameType.RENEWED:
                nonce = Fields(frame.payload).blob(Tag.NONCE)
                if nonce is not None and hmac.compare_digest(nonce, renewal.nonce):
                    return now_s() - asked


class _Conversation:
    """One job on one channel."""

    def __init__(self, channel: Channel, job: Job, launch: Launch, stream: int) -> None:
        self.reader = Reader(job.resources.max_output_bytes)
        self.begun = False
        """START may have reached the agent."""
        self.exit: Exit | None = None
        self._channel = channel
        self._job = job
        self._launch = launch
        self._stream = stream
        self._outgoing = _Outgoing(stream)
        self._may_send = OUTPUT_WINDOW
        """What the guest may still send, in bytes."""
        self._untold = 0
        """Bytes taken by the caller, for which the guest has no new credit yet."""
        self._output_failed = False

    async def begin(self) -> Iterator[Event]:
        """Send what needs no answer: files, START, the first window of input. The events of an early refusal."""
        job, launch = self._job, self._launch
        pending = b""
        async for batch in file_frames(job, launch, self._stream):
            if pending:
                await self._channel.send(pending)
            pending = batch
            if self._channel.has_received:
                refusal = list(self.hear(await self._channel.receive()))
                if refusal:
                    return iter(refusal)
        start, in_frames = self._start()
        self._outgoing.add(FrameType.INPUT, in_frames)
        self._outgoing.add(FrameType.STDIN, job.input if job.stdin is None else job.stdin)
        self._outgoing.end()
        self.begun = True
        await self._channel.send(pending + start + self._outgoing.take())
        return iter(())

    def hear(self, frames: Iterable[Frame]) -> Iterator[Event]:
        """The events in these frames. Raises ProtocolError, StartFailed or SandboxCrashed."""
        told: list[Frame] = []
        for frame in frames:
            if frame.stream == self._stream and frame.type in _COUNTED:
                self._may_send -= len(frame.payload)
                if self._may_send < 0:
                    raise ProtocolError("more output than there was credit for")
                if frame.type is FrameType.RESULT:
                    self._untold += len(frame.payload)
                told.append(frame)
            elif frame.stream == self._stream and frame.type is FrameType.CREDIT:
                self._outgoing.grant(Fields(frame.payload).integer(Tag.SIZE))
            else:
                yield from self.reader.read(told)
                told.clear()
                yield from self._hear(frame)
        yield from self.reader.read(told)

    def taken(self, event: Event) -> None:
        """The caller has dealt with this event and asks for more."""
        if isinstance(event, Output):
            self._untold += len(event.data)
        if self._untold >= OUTPUT_WINDOW // 2:
            self.grant()

    def grant(self) -> None:
        """Tell the guest that it may send as much again as was taken."""
        credit = encode_fields([(Tag.SIZE, self._untold)])
        self._channel.post(encode_frame(FrameType.CREDIT, credit, stream=self._stream))
        self._may_send += self._untold
        self._untold = 0

    def pump(self) -> None:
        """Send what is due."""
        if self._untold >= OUTPUT_WINDOW // 2:
            self.grant()
        data = self._outgoing.take()
        if data:
            self._channel.post(data)

    def _start(self) -> tuple[bytes, bytes]:
        """START, and the input that must follow it in frames of its own, if any."""
        job, launch = self._job, self._launch
        to_harness = launch.entrypoint is not None
        fits = len(job.input) <= _INPUT_IN_START_BYTES
        start = Start(
            argv=launch.argv,
            entrypoint=launch.entrypoint,
            args=launch.args,
            env=tuple(f"{name}={value}" for name, value in launch.env.items()),
            cwd=launch.cwd,
            input=job.input if to_harness and fits else None,
            input_size=len(job.input) if to_harness and not fits else None,
            output_path=launch.output_path,
            limit_pids=launch.limit_pids,
            limit_nofile=launch.limit_nofile,
            limit_fsize=launch.limit_fsize,
            limit_memory=launch.limit_memory,
            limit_disk=launch.limit_disk,
        )
        payload = start.encode()
        if len(payload) > MAX_PAYLOAD:
            raise StartFailed("the arguments and environment variables are larger than 1 MiB")
        frame = encode_frame(FrameType.START, payload, stream=self._stream)
        return frame, job.input if to_harness and not fits else b""

    def _hear(self, frame: Frame) -> Iterator[Event]:
        """A frame that is neither output nor credit."""
        if frame.stream == CONTROL_STREAM:
            self._hear_sandbox(frame)
        elif frame.stream != self._stream:
            raise ProtocolError(f"{frame.type.name} on stream {frame.stream}, which there is not")
        elif frame.type is FrameType.ERROR:
            yield from self._hear_error(Fault.decode(frame.payload))
        elif frame.type in (FrameType.PING, FrameType.PONG):
            raise ProtocolError(f"{frame.type.name} on the stream of a program")
        else:
            if frame.type is FrameType.EXIT:
                self.exit = Exit.decode(frame.payload)
            elif frame.type is FrameType.STARTED and self.reader.started:
                raise ProtocolError("STARTED twice")
            yield from self.reader.read([frame])

    def _hear_sandbox(self, frame: Frame) -> None:
        if frame.type is FrameType.ERROR:
            fault = Fault.decode(frame.payload)
            detail = f"{self._job.id}: {fault.kind}: {fault.message}: {fault.trace}"
            if self.reader.started:
                raise SandboxCrashed("the sandbox's agent gave up", detail=detail)
            raise StartFailed("the sandbox died before the program began", detail=detail)
        if frame.type is not FrameType.PONG:
            # An answer to a PING that was given up on may come late. Nothing else has a reason to come.
            raise ProtocolError(f"{frame.type.name} while a program runs")

    def _hear_error(self, fault: Fault) -> Iterator[Event]:
        if not self.reader.started:
            yield from self._refused(fault)
        elif fault.kind in ("bad_path", "io", "no_space") and not self._output_failed:
            # Only the output file can fail so late, and what it is was the program's doing.
            self._output_failed = True
            if not self.reader.raised:
                text = f"$CAISSON_OUTPUT cannot be read: {fault.message}"
                yield from self.reader.read([_exception("InvalidOutput", text)])
        else:
            raise ProtocolError(f"ERROR {fault.kind} while the program runs: {fault.message}")

    def _refused(self, fault: Fault) -> Iterator[Event]:
        """The agent's answer to START instead of STARTED: user code did not begin."""
        if fault.kind == "no_space":
            yield Raised("disk_full", f"the files do not fit into `resources.disk_mb`: {fault.message}", "")
            yield Exited(code=1)
        elif fault.kind == "spawn" and self._launch.users_choice and _is_users_fault(fault.message):
            missing = "No such file" in fault.message
            yield Raised("invalid_code", f"{self._launch.argv[0]}: {fault.message}", "")
            yield Exited(code=_NOT_FOUND if missing else _CANNOT_EXECUTE)
        else:
            detail = f"{self._job.id}: {fault.kind}: {fault.message}: {fault.trace}"
            raise StartFailed("the sandbox could not start the program", detail=detail)


class _Outgoing:
    """INPUT and STDIN on their way, as far as the guest gave credit."""

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self._pieces: list[tuple[FrameType, memoryview]] = []
        self._credit = INPUT_WINDOW

    def add(self, type: FrameType, data: bytes) -> None:
        if data:
            self._pieces.append((type, memoryview(data)))

    def end(self) -> None:
        """Nothing follows: the program's standard input is closed then."""
        self._pieces.append((FrameType.STDIN, memoryview(b"")))

    def grant(self, size: int | None) -> None:
        """CREDIT came. Raises ProtocolError if it is none."""
        if size is None or size + self._credit > _MOST_CREDIT:
            raise ProtocolError("CREDIT without a size, or with an impossible one")
        self._credit += size

    def take(self) -> bytes:
        """The frames that may be sent now."""
        frames: list[bytes] = []
        while self._pieces:
            type, data = self._pieces[0]
            piece, rest = data[: min(self._credit, MAX_PAYLOAD)], data[min(self._credit, MAX_PAYLOAD) :]
            if data and not piece:
                break
            self._credit -= len(piece)
            frames.append(encode_frame(type, bytes(piece), stream=self._stream))
            if rest:
                self._pieces[0] = (type, rest)
            else:
                self._pieces.pop(0)
        return b"".join(frames)


def _is_users_fault(message: str) -> bool:
    """True if the step that failed is one about the user's program; the words are the agent's."""
    return message.startswith(("executing the program", "entering its working folder"))


def _exception(kind: str, message: str) -> Frame:
    return Frame(FrameType.EXCEPTION, CONTROL_STREAM, Fault(message=message, kind=kind).encode())
