"""Which copies of a machine got an interpreter that another machine had started."""

from __future__ import annotations

import pytest

from caisson.backends.microvm.parents import Child, Parents, Raise
from caisson.backends.microvm.snapshot import Template


def started_ahead(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for every copy with an interpreter that is begun from now on."""
    told: list[bool] = []
    take = Parents.take

    async def note(self: Parents, template: Template, up: Raise) -> Child | None:
        child = await take(self, template, up)
        told.append(child is not None)
        return child

    monkeypatch.setattr(Parents, "take", note)
    return told
