"""What the store says when it does not do as asked.

CaissonError
├── StoreError            it could not be stored or read now; trying again may help
├── IllegalTransition     the workload is in no state from which it may go there; trying again never helps
└── IdempotencyClash      the key was used before
"""

from __future__ import annotations

from caisson.errors import CaissonError
from caisson.model import Status


class StoreError(CaissonError):
    """The database did not take or give it: disk full, locked, gone. Nothing of what was asked is stored."""


class IllegalTransition(CaissonError):
    """A workload cannot go where it was told to; `present` is where it is, None if there is no such workload."""

    def __init__(self, workload_id: str, present: Status | None, wanted: Status) -> None:
        where = f"is {present.value}" if present else "is not in the store"
        super().__init__(f"workload {workload_id} {where} and cannot become {wanted.value}")
        self.workload_id = workload_id
        self.present = present
        self.wanted = wanted


class IdempotencyClash(CaissonError):
    """The tenant used this idempotency key before, for `existing_id`."""

    def __init__(self, existing_id: str, *, same_request: bool) -> None:
        super().__init__(f"the idempotency key belongs to workload {existing_id}")
        self.existing_id = existing_id
        self.same_request = same_request
