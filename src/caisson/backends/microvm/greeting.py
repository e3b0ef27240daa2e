"""The first words with a machine's agent, and the last ones of a machine that did not get so far."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from caisson.backends.microvm.vmm import Machine, VmmError
from caisson.sandbox.channel import Channel, ChannelClosed
from caisson.sandbox.protocol import ProtocolError

_CONSOLE_BYTES = 2000


async def open_channel(machine: Machine, stack: AsyncExitStack) -> Channel:
    """The agent's channel, closed with the stack. Raises VmmError."""
    fd = await machine.connect()
    channel = Channel(fd, fd)
    stack.callback(channel.close)
    return channel


async def greet(machine: Machine, channel: Channel, nonce: bytes, timeout_s: float) -> None:
    """Wait until agent and interpreter are READY. Raises VmmError, at once if the machine ends."""
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(_close_at_end(machine, channel))
        failure = await _failure(channel.handshake(nonce, timeout_s))
        watching.cancel()
    if isinstance(failure, ChannelClosed):
        raise VmmError("the machine ended before its agent was ready") from failure
    if isinstance(failure, TimeoutError):
        raise VmmError(f"its agent was not ready within {timeout_s:g} s")
    if failure is not None:
        raise VmmError(str(failure))


async def explained(name: str, machine: Machine, error: BaseException) -> VmmError:
    """The failure with what the guest said last."""
    console = (await machine.console()).decode("utf-8", "replace").strip()
    what = f"{type(error).__name__} {error}".strip()
    return VmmError(f"{name}: {what}; its console: {console[-_CONSOLE_BYTES:] or 'empty'}")


async def _failure(work: Coroutine[Any, Any, object]) -> Exception | None:
    try:
        await work
    except (TimeoutError, ChannelClosed, ProtocolError) as error:
        return error
    return None


async def _close_at_end(machine: Machine, channel: Channel) -> None:
    await machine.wait()
    channel.close()
