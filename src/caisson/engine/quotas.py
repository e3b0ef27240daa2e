"""What each tenant may use, and what it has used: decided on acceptance, without I/O."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic, time

from caisson.errors import Refusal, Refused
from caisson.model import Isolation
from caisson.tenants import ANYBODY, TenantPolicy

MINUTE_S = 60.0
HOUR_S = 3600
HOURS = 24
SOON_S = 1
"""When to come again for what any end of a workload may free."""


@dataclass(slots=True)
class _Use:
    """What one tenant has in hand, and what it had lately."""

    unfinished: int = 0
    mem_mb: int = 0
    accepted_at: deque[float] = field(default_factory=deque)
    cpu_ms: dict[int, float] = field(default_factory=dict)
    """By the hour since 1970."""


class Quotas:
    """The tenants' policies and their use of them. `now` and `hour` are clocks: of durations, and of the day."""

    def __init__(
        self, now: Callable[[], float] = monotonic, hour: Callable[[], int] = lambda: int(time()) // HOUR_S
    ) -> None:
        self._now = now
        self._hour = hour
        self._policies: Mapping[str, TenantPolicy] = {}
        self._uses: defaultdict[str, _Use] = defaultdict(_Use)

    def set_policies(self, policies: Mapping[str, TenantPolicy]) -> None:
        """From now on these count; a tenant that is not among them has no limits."""
        self._policies = policies

    def policy(self, tenant: str) -> TenantPolicy:
        """What counts for a tenant."""
        return self._policies.get(tenant, ANYBODY)

    def weight(self, tenant: str) -> float:
        """A tenant's share of the places when there are too few."""
        return self.policy(tenant).weight

    def least(self, tenant: str) -> Isolation | None:
        """The weakest isolation that a tenant's workloads may have."""
        return self.policy(tenant).least_isolation

    def check(self, tenant: str, mem_mb: int) -> None:
        """Raise Refused (429, naming the quota and when to come again) if one more workload would be too much."""
        policy, use = self.policy(tenant), self._uses[tenant]
        if policy.concurrent is not None and use.unfinished >= policy.concurrent:
            raise _used_up("concurrent", f"{policy.concurrent} workloads that wait or run at once", SOON_S)
        if policy.mem_mb is not None and use.mem_mb + mem_mb > policy.mem_mb:
            raise _used_up("mem_mb", f"{policy.mem_mb} MiB for all that waits or runs", SOON_S, "resources.mem_mb")
        if policy.per_minute is not None:
            self._forget(use)
            if len(use.accepted_at) >= policy.per_minute:
                due, now = use.accepted_at[-policy.per_minute], self._now()
                wait_s = math.ceil(due + MINUTE_S - now)
                # Rounded sums may disagree by the last digit about the very moment.
                wait_s += due > now + wait_s - MINUTE_S
                raise _used_up("per_minute", f"{policy.per_minute} workloads a minute", wait_s)
        if policy.cpu_s_per_day is not None and self._cpu_ms(use) >= policy.cpu_s_per_day * 1000:
            raise _used_up("cpu_s_per_day", f"{policy.cpu_s_per_day:g} CPU-seconds in 24 hours", HOUR_S)

    def image_bytes(self, tenant: str) -> int | None:
        """What the images a tenant had fetched may take before it is refused one more; None: no limit."""
        limit_mb = self.policy(tenant).image_mb
        return None if limit_mb is None else limit_mb << 20

    def refuse_image(self, tenant: str) -> Refused:
        """The refusal of one image more."""
        return _used_up("image_mb", f"{self.policy(tenant).image_mb} MiB of images from registries", HOUR_S, "image")

    def accepted(self, tenant: str) -> None:
        """Note that a workload was accepted."""
        if self.policy(tenant).per_minute is not None:
            use = self._uses[tenant]
            self._forget(use)
            use.accepted_at.append(self._now())

    def hold(self, tenant: str, mem_mb: int) -> None:
        """Note that a workload waits or runs, until `release`."""
        use = self._uses[tenant]
        use.unfinished += 1
        use.mem_mb += mem_mb

    def release(self, tenant: str, mem_mb: int) -> None:
        """The end of a `hold`."""
        use = self._uses[tenant]
        use.unfinished -= 1
        use.mem_mb -= mem_mb

    def spent(self, tenant: str, cpu_ms: float, hour: int | None = None) -> None:
        """Note CPU time of a workload that ended, in an hour since 1970 (now, if none is given)."""
        use = self._uses[tenant]
        hour = self._hour() if hour is None else hour
        use.cpu_ms[hour] = use.cpu_ms.get(hour, 0.0) + cpu_ms

    def _cpu_ms(self, use: _Use) -> float:
        oldest = self._hour() - HOURS
        for hour in [hour for hour in use.cpu_ms if hour <= oldest]:
            del use.cpu_ms[hour]
        return sum(use.cpu_ms.values())

    def _forget(self, use: _Use) -> None:
        while use.accepted_at and use.accepted_at[0] <= self._now() - MINUTE_S:
            use.accepted_at.popleft()


def _used_up(name: str, what: str, wait_s: float, member: str | None = None) -> Refused:
    """`member` is the request's that counts towards the quota; where each request counts alike, it is the quota."""
    return Refused(
        429,
        Refusal.QUOTA_EXCEEDED,
        f"the quota `{name}` is used up: {what}",
        member=member or name,
        retry_after_s=max(SOON_S, math.ceil(wait_s)),
    )
