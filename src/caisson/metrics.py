"""Prometheus metrics. Every label value comes from an enum and exists from the start, so that rates begin at zero."""

from __future__ import annotations

from itertools import product

from prometheus_client import Counter, Gauge, Histogram

from caisson.errors import Refusal
from caisson.model import KILL_REASONS, Isolation, Reason, Runtime, StartKind, Status

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

workloads_accepted = Counter("caisson_workloads_accepted_total", "Workloads accepted.", ["runtime"])
workloads_finished = Counter(
    "caisson_workloads_finished_total",
    "Workloads that reached a terminal state; `reason` is `none` for completed ones.",
    ["isolation", "status", "reason"],
)
workloads_queued = Gauge("caisson_workloads_queued", "Workloads that wait for a place.")
workloads_running = Gauge("caisson_workloads_running", "Workloads that hold a place.")
workload_queued_seconds = Histogram(
    "caisson_workload_queued_seconds", "Time from acceptance to a place.", buckets=_SECONDS
)
workload_run_seconds = Histogram("caisson_workload_run_seconds", "Time a program ran.", ["isolation"], buckets=_SECONDS)
workload_total_seconds = Histogram(
    "caisson_workload_total_seconds", "Time from acceptance to result.", ["isolation", "start"], buckets=_SECONDS
)
sandbox_start_seconds = Histogram(
    "caisson_sandbox_start_seconds", "Time a workload waited for its sandbox.", ["isolation", "start"], buckets=_SECONDS
)
sandbox_starts_failed = Counter(
    "caisson_sandbox_starts_failed_total", "Sandboxes that did not come up.", ["isolation", "runtime"]
)
sandbox_teardowns_failed = Counter(
    "caisson_sandbox_teardowns_failed_total", "Sandboxes that left something behind.", ["isolation"]
)
sandboxes_reclaimed = Counter(
    "caisson_sandboxes_reclaimed_total", "Leftovers of a dead server that were removed at start.", ["isolation"]
)
leftovers_removed = Counter(
    "caisson_leftovers_removed_total", "What a dead server left, and was ended or removed after the start.", ["kind"]
)
leftovers_seconds = Gauge(
    "caisson_leftovers_removal_seconds", "How long it took to remove what a dead server left; 0 until that is done."
)
pool_ready = Gauge("caisson_pool_ready_sandboxes", "Sandboxes that wait for work.", ["isolation", "runtime"])
pool_target = Gauge("caisson_pool_target_sandboxes", "Sandboxes that should wait.", ["isolation", "runtime"])
sandboxes_dropped = Counter(
    "caisson_sandboxes_dropped_total", "Waiting sandboxes that were given up unused.", ["isolation", "reason"]
)
machine_boot_seconds = Histogram(
    "caisson_machine_boot_seconds", "Time from a VMM's start to an interpreter that waits.", ["vmm"], buckets=_SECONDS
)
machine_restore_seconds = Histogram(
    "caisson_machine_restore_seconds", "Time to a copy of a saved machine that runs.", ["vmm"], buckets=_SECONDS
)
machine_renew_seconds = Histogram(
    "caisson_machine_renew_seconds", "Time a copy took to become a machine of its own.", ["vmm"], buckets=_SECONDS
)
machine_round_trip_seconds = Histogram(
    "caisson_machine_round_trip_seconds",
    "Time from a question to a machine's agent to its answer.",
    ["vmm"],
    buckets=(0.0001, 0.00025, 0.0005, *_SECONDS),
)
machines_running = Gauge("caisson_machines_running", "Virtual machines whose processors run.", ["vmm"])
machines_stopped = Gauge("caisson_machines_stopped", "Virtual machines that wait, stopped.", ["vmm"])
machine_templates_built = Counter("caisson_machine_templates_built_total", "Machines saved as templates.", ["vmm"])
machines_failed = Counter(
    "caisson_machines_failed_total", "Virtual machines that did not come up, or did not last.", ["vmm", "reason"]
)
firecracker_events = Counter(
    "caisson_firecracker_events_total", "What Firecracker counted of its machines that have ended.", ["event"]
)
firecracker_start_cpu_seconds = Histogram(
    "caisson_firecracker_start_cpu_seconds",
    "CPU time of a Firecracker from its start until it listens.",
    buckets=(0.001, 0.0025, 0.005, 0.008, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
)
log_lines_stored = Counter("caisson_log_lines_stored_total", "Log lines committed to the store.")
log_streams_open = Gauge("caisson_log_streams_open", "Readers connected to a log stream.")
event_streams_open = Gauge("caisson_event_streams_open", "Readers connected to any other stream of events.")
loop_tasks = Gauge("caisson_event_loop_tasks", "Tasks of the server that have not ended.")
guesses_barred = Counter("caisson_key_guesses_barred_total", "Requests not looked at for too many wrong API keys.")
requests_refused = Counter("caisson_requests_refused_total", "Requests answered with a problem.", ["reason"])


def open_log_streams() -> int:
    """Readers connected to a log stream now."""
    return int(next(iter(log_streams_open.collect())).samples[0].value)


LEFTOVERS = ("process", "sandbox", "network", "file")
DROPS = ("old", "sick", "surplus")
VMMS = ("firecracker", "qemu")
FIRECRACKER_EVENTS = (
    "vcpu_failed",
    "system_call_denied",
    "fault_signal",
    "disk_failed",
    "disk_throttled",
    "network_failed",
    "network_throttled",
    "channel_failed",
    "console_byte_dropped",
)
MACHINE_FAILURES = ("boot", "restore", "save", "parent", "wake", "panic", "silent", "died")


def _create_labels() -> None:
    for vmm in VMMS:
        for each in (machine_boot_seconds, machine_restore_seconds, machine_renew_seconds, machine_round_trip_seconds):
            each.labels(vmm)
        for gauge in (machines_running, machines_stopped):
            gauge.labels(vmm)
        machine_templates_built.labels(vmm)
        for failure in MACHINE_FAILURES:
            machines_failed.labels(vmm, failure)
    for event in FIRECRACKER_EVENTS:
        firecracker_events.labels(event)
    for runtime in Runtime:
        workloads_accepted.labels(runtime)
    for kind in LEFTOVERS:
        leftovers_removed.labels(kind)
    for refusal in Refusal:
        requests_refused.labels(refusal)
    for isolation in Isolation:
        workload_run_seconds.labels(isolation)
        sandbox_teardowns_failed.labels(isolation)
        sandboxes_reclaimed.labels(isolation)
        for drop in DROPS:
            sandboxes_dropped.labels(isolation, drop)
        workloads_finished.labels(isolation, Status.COMPLETED, "none")
        for reason in Reason:
            status = Status.KILLED if reason in KILL_REASONS else Status.FAILED
            workloads_finished.labels(isolation, status, reason)
    for isolation, start in product(Isolation, StartKind):
        workload_total_seconds.labels(isolation, start)
        sandbox_start_seconds.labels(isolation, start)
    for isolation, runtime in product(Isolation, Runtime):
        sandbox_starts_failed.labels(isolation, runtime)
        pool_ready.labels(isolation, runtime)
        pool_target.labels(isolation, runtime)


_create_labels()
