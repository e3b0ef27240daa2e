"""Whoever tries keys must wait, and nobody else has to."""

from __future__ import annotations

from pathlib import Path

import pytest

from caisson.api import guesses
from caisson.api.guesses import FIRST_WAIT_S, LONGEST_WAIT_S, Guesses
from tests.unit.api.doubles import EngineDouble, KeysDouble, client, make_app

FREE_GUESSES = 10


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_wrong_key_after_the_free_ones_doubles_the_wait_up_to_the_longest() -> None:
    clock = Clock()
    tried = Guesses(FREE_GUESSES, clock)
    assert not any(tried.wrong("10.0.0.1") for _ in range(FREE_GUESSES - 1))
    assert tried.wait_s("10.0.0.1", "x") == 0
    waits = []
    for _ in range(12):
        assert tried.wrong("10.0.0.1")
        waits.append(tried.wait_s("10.0.0.1", "x"))
        clock.now += waits[-1]
        assert tried.wait_s("10.0.0.1", "x") == 0
    assert waits[:3] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert max(waits) == waits[-1] == LONGEST_WAIT_S
    clock.now += guesses.FORGET_S + 1
    assert not tried.wrong("10.0.0.1")


def test_others_and_keys_that_were_right_before_do_not_wait() -> None:
    tried = Guesses(FREE_GUESSES, Clock())
    tried.right("10.0.0.1", "good")
    for _ in range(100):
        tried.wrong("10.0.0.1")
    assert tried.wait_s("10.0.0.1", "good") == 0
    assert tried.wait_s("10.0.0.1", "other") > 0
    assert tried.wait_s("10.0.0.2", "other") == 0


def test_a_network_is_one_guesser_and_addresses_in_another_form_are_the_same() -> None:
    tried = Guesses(FREE_GUESSES, Clock())
    for number in range(FREE_GUESSES):
        tried.wrong(f"2001:db8::{number:x}")
    assert tried.wait_s("2001:db8::ffff", "x") > 0
    assert tried.wait_s("2001:db8:0:1::1", "x") == 0
    for _ in range(FREE_GUESSES):
        tried.wrong("::ffff:10.0.0.1")
    assert tried.wait_s("10.0.0.1", "x") > 0


def test_it_is_bounded_however_many_addresses_come() -> None:
    tried = Guesses(FREE_GUESSES, Clock())
    for number in range(guesses.MAX_ADDRESSES + 100):
        tried.wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    for number in range(1_000):
        tried.right("10.0.0.1", str(number))
    assert len(tried._guessers) <= guesses.MAX_ADDRESSES
    assert all(len(one.known) <= guesses.MAX_KNOWN for one in tried._guessers.values())


@pytest.mark.anyio
async def test_a_barred_address_is_answered_429_without_asking_the_store_and_once_noted(tmp_path: Path) -> None:
    keys = KeysDouble()
    keys.add("reader", "read")
    app = make_app(EngineDouble(), tmp_path, keys, listen="0.0.0.0:8080")
    async with client(app) as http:
        right = {"X-API-Key": "reader"}
        assert (await http.get("/v1/workloads", headers=right)).status_code == 200
        answers = [
            await http.get("/v1/workloads", headers={"X-API-Key": f"guess {number}"})
            for number in range(FREE_GUESSES + 5)
        ]
        assert [answer.status_code for answer in answers] == [401] * FREE_GUESSES + [429] * 5
        problem = answers[-1].json()
        assert (problem["reason"], problem["member"]) == ("too_many_guesses", "Authorization")
        assert int(answers[-1].headers["Retry-After"]) >= 1
        assert (await http.get("/v1/workloads", headers=right)).status_code == 200
    assert [entry.action for entry in keys.noted] == ["key.barred"]
    assert "guess" not in repr(keys.noted)
