"""What Firecracker counts of itself, summed up for whoever watches the host: faults, and what its limits held back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from caisson import metrics

EVENTS: Mapping[str, tuple[str, ...]] = {
    "vcpu_failed": ("vcpu.failures",),
    "system_call_denied": ("seccomp.num_faults",),
    "fault_signal": ("signals.sigbus", "signals.sigsegv", "signals.sigill"),
    "disk_failed": ("block.activate_fails", "block.event_fails", "block.execute_fails", "block.invalid_reqs_count"),
    "disk_throttled": ("block.rate_limiter_throttled_events", "block.io_engine_throttled_events"),
    "network_failed": ("net.activate_fails", "net.event_fails", "net.rx_fails", "net.tx_fails"),
    "network_throttled": ("net.rx_rate_limiter_throttled", "net.tx_rate_limiter_throttled"),
    "channel_failed": (
        "vsock.activate_fails",
        "vsock.rx_queue_event_fails",
        "vsock.tx_queue_event_fails",
        "vsock.ev_queue_event_fails",
        "vsock.muxer_event_fails",
    ),
    "console_byte_dropped": ("uart.rate_limiter_dropped_bytes", "uart.missed_write_count"),
}
"""Each event of `metrics.FIRECRACKER_EVENTS`, and the counters that are added up for it."""
_MOST = 1 << 53


def sets_in(data: bytes) -> list[Mapping[str, Any]]:
    """The sets of metrics in what was written, one for each whole line; Firecracker counts anew after each."""
    found: list[Mapping[str, Any]] = []
    for line in data.split(b"\n")[:-1]:
        # A set that began before what was kept is cut; and whoever writes here may be a guest that broke out.
        with suppress(ValueError, RecursionError):
            told = json.loads(line)
            if isinstance(told, dict):
                found.append(told)
    return found


def sums(sets: list[Mapping[str, Any]]) -> Mapping[str, int]:
    """How often each event happened; those that never did are left out."""
    found = {event: sum(_counter(each, name) for each in sets for name in names) for event, names in EVENTS.items()}
    return {event: min(count, _MOST) for event, count in found.items() if count}


def report(data: bytes) -> Mapping[str, int]:
    """Add what one Firecracker counted to the server's metrics, once it has ended; what was added."""
    sets = sets_in(data)
    counted = sums(sets)
    for event, count in counted.items():
        metrics.firecracker_events.labels(event).inc(count)
    for each in sets:
        # Told with the first set, and 0 in those that follow.
        if cpu_us := _counter(each, "api_server.process_startup_time_cpu_us"):
            metrics.firecracker_start_cpu_seconds.observe(cpu_us / 1e6)
    return counted


def _counter(told: Mapping[str, Any], name: str) -> int:
    section, _, member = name.partition(".")
    members = told.get(section)
    count = members.get(member) if isinstance(members, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 < count <= _MOST else 0
