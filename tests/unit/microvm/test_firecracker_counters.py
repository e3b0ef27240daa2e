"""What Firecracker counts becomes the server's own count, whatever else stands in what it wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client import REGISTRY

from caisson import metrics
from caisson.backends.microvm.firecracker.counters import EVENTS, report, sets_in, sums


def written(*sets: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in sets)


def test_every_event_that_is_summed_up_is_one_of_the_metric_s_labels() -> None:
    assert tuple(EVENTS) == metrics.FIRECRACKER_EVENTS


def test_counters_of_all_sets_are_added_up_and_the_rest_is_left_out() -> None:
    data = written(
        {"vcpu": {"failures": 1, "exit_io_in": 900}, "block": {"event_fails": 2, "execute_fails": 3}},
        {"vcpu": {"failures": 4}, "block_drive0": {"event_fails": 2}, "seccomp": {"num_faults": 0}},
    )
    assert sums(sets_in(data)) == {"vcpu_failed": 5, "disk_failed": 5}


@pytest.mark.parametrize("count", [True, -1, 1.5, "7", None, [], {}, 1 << 60])
def test_what_is_no_count_counts_nothing(count: object) -> None:
    assert sums(sets_in(written({"vcpu": {"failures": count}}))) == {}


@pytest.mark.parametrize(
    "noise", [b"", b"{", b"[1]\n", b"17\n", b"\xff\n", b"[" * 100_000 + b"\n", b'{"vcpu": 1}\n', b'{"vcpu": [1]}\n']
)
def test_what_is_cut_or_no_set_at_all_harms_nothing(noise: bytes) -> None:
    assert sums(sets_in(noise + b"\n" + written({"vcpu": {"failures": 1}}))) == {"vcpu_failed": 1}
    assert sums(sets_in(written({"vcpu": {"failures": 1}}) + noise.rstrip(b"\n"))) == {"vcpu_failed": 1}


def test_the_time_firecracker_took_to_start_is_observed_once() -> None:
    def observed() -> tuple[float, float]:
        name = "caisson_firecracker_start_cpu_seconds"
        return REGISTRY.get_sample_value(f"{name}_count") or 0, REGISTRY.get_sample_value(f"{name}_sum") or 0

    count, seconds = observed()
    first, later = ({"api_server": {"process_startup_time_cpu_us": us}} for us in (8000, 0))
    report(written(first, later))
    assert observed()[0] == count + 1
    assert observed()[1] == pytest.approx(seconds + 0.008)
