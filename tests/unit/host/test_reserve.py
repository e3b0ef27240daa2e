"""Descriptors kept back are there for what must be done, and nothing that takes many is begun while some lack."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from caisson.host.pipes import Fifos
from caisson.host.process import start
from caisson.host.reserve import keeping, require, spending
from tests.helpers.scarcity import held, only


def test_what_is_kept_back_can_be_spent_and_is_kept_back_again() -> None:
    before = held()
    with keeping():
        with only(0):
            with pytest.raises(OSError, match="Too many open files"):
                os.open("/", os.O_RDONLY)
            with spending():
                fd = os.open("/", os.O_RDONLY)
            with pytest.raises(OSError, match="Too many open files"):
                require()
            os.close(fd)
            require()
            with pytest.raises(OSError, match="Too many open files"):
                os.open("/", os.O_RDONLY)
        require()
    assert held() == before


def test_nothing_lacks_where_nothing_is_kept_back() -> None:
    with only(0):
        require()


@pytest.mark.parametrize("free", range(4))
def test_named_pipes_that_cannot_all_be_opened_are_closed(free: int, tmp_path: Path) -> None:
    before = held()
    with only(free), pytest.raises(OSError, match="Too many open files"):
        Fifos(tmp_path, os.getuid())
    assert held() == before


@pytest.mark.anyio
async def test_a_process_that_was_started_is_followed_though_no_descriptor_is_left() -> None:
    with keeping():
        # What starting it takes, and gives back.
        with only(3):
            process = start(["true"])
        assert await process.wait() == 0
        await process.close()
