"""API keys can be used from their creation until they expire or are revoked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from caisson.store.records import ApiKey, KeyScope
from caisson.store.store import Store, StoreError
from tests.helpers.workloads import NOON

pytestmark = pytest.mark.anyio

KEY = ApiKey("d" * 64, "cai_abcd", "team", frozenset({KeyScope.READ, KeyScope.RUN}), NOON)
EXPIRING = ApiKey("e" * 64, "cai_efgh", "team", frozenset(), NOON, expires_at=NOON + timedelta(days=1))


async def test_a_key_is_found_by_its_digest_alone(store: Store) -> None:
    await store.create_key(KEY)
    assert await store.find_key(KEY.digest, NOON) == KEY
    assert await store.find_key("f" * 64, NOON) is None
    assert await store.find_key(KEY.prefix, NOON) is None


async def test_an_expired_key_is_not_found(store: Store) -> None:
    await store.create_key(EXPIRING)
    assert await store.find_key(EXPIRING.digest, NOON + timedelta(hours=23)) == EXPIRING
    assert await store.find_key(EXPIRING.digest, NOON + timedelta(hours=24)) is None


async def test_a_revoked_key_ends_at_once_and_stays_listed(store: Store) -> None:
    await store.create_key(KEY)
    assert await store.revoke_key(KEY.prefix, NOON)
    assert await store.find_key(KEY.digest, NOON) is None
    assert [key.revoked_at for key in await store.list_keys()] == [NOON]


async def test_a_key_is_revoked_once(store: Store) -> None:
    await store.create_key(KEY)
    assert await store.revoke_key(KEY.prefix, NOON)
    assert not await store.revoke_key(KEY.prefix, NOON + timedelta(hours=1))
    assert not await store.revoke_key("cai_none", NOON)
    assert [key.revoked_at for key in await store.list_keys()] == [NOON]


async def test_last_use_is_kept(store: Store) -> None:
    await store.create_key(KEY)
    await store.touch_key(KEY.digest, NOON + timedelta(minutes=5))
    assert [key.last_used_at for key in await store.list_keys()] == [NOON + timedelta(minutes=5)]


async def test_keys_are_listed_oldest_first(store: Store) -> None:
    younger = ApiKey("a" * 64, "cai_aaaa", "team", frozenset(), NOON + timedelta(days=1))
    await store.create_key(younger)
    await store.create_key(KEY)
    assert [key.prefix for key in await store.list_keys()] == [KEY.prefix, younger.prefix]


async def test_a_prefix_names_one_key(store: Store) -> None:
    await store.create_key(KEY)
    with pytest.raises(StoreError):
        await store.create_key(ApiKey("f" * 64, KEY.prefix, "team", frozenset(), NOON))
    assert len(await store.list_keys()) == 1
