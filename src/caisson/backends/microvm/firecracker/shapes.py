"""The bodies of Firecracker's API that are used here, as types: what is sent, and what is read back.

Names and values are those of its published description (see docs/guides/firecracker.md). A member left at None is
not sent, so that an older version never meets a member it does not know.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Body(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A request's body; members at their defaults are left out."""


class TokenBucket(Body, frozen=True, omit_defaults=True):
    """So many tokens (bytes, or operations), refilled over a time; `one_time_burst` more at the start."""

    size: int
    refill_time: int
    """Milliseconds in which an empty bucket fills."""
    one_time_burst: int | None = None


class RateLimiter(Body, frozen=True, omit_defaults=True):
    """Limits on a device: bytes and operations, each by a bucket of its own."""

    bandwidth: TokenBucket | None = None
    ops: TokenBucket | None = None


class BootSource(Body, frozen=True, omit_defaults=True):
    """What the guest starts from. Paths are seen from inside the jail, here and everywhere."""

    kernel_image_path: str
    initrd_path: str | None = None
    boot_args: str | None = None


class MachineConfiguration(Body, frozen=True, omit_defaults=True):
    """CPUs and memory."""

    vcpu_count: int
    mem_size_mib: int
    smt: bool | None = None
    track_dirty_pages: bool | None = None
    huge_pages: Literal["None", "2M"] | None = None


class Drive(Body, frozen=True, omit_defaults=True):
    """A block device."""

    drive_id: str
    is_root_device: bool
    path_on_host: str
    is_read_only: bool
    cache_type: Literal["Unsafe", "Writeback"] | None = None
    io_engine: Literal["Sync", "Async"] | None = None
    rate_limiter: RateLimiter | None = None


class NetworkInterface(Body, frozen=True, omit_defaults=True):
    """A network card on a TAP device."""

    iface_id: str
    host_dev_name: str
    guest_mac: str | None = None
    rx_rate_limiter: RateLimiter | None = None
    tx_rate_limiter: RateLimiter | None = None


class Vsock(Body, frozen=True, omit_defaults=True):
    """The socket device: a unix socket on the host stands for every port of the guest."""

    guest_cid: int
    uds_path: str


class SerialDevice(Body, frozen=True, omit_defaults=True):
    """Where the serial console's output goes; what is above the rate is dropped."""

    serial_out_path: str | None = None
    rate_limiter: TokenBucket | None = None


class Action(Body, frozen=True, omit_defaults=True):
    """Something to do at once."""

    action_type: Literal["InstanceStart", "FlushMetrics", "SendCtrlAltDel"]


class Vm(Body, frozen=True, omit_defaults=True):
    """The state a running machine is to have."""

    state: Literal["Paused", "Resumed"]


class SnapshotCreate(Body, frozen=True, omit_defaults=True):
    """Where to save a paused machine."""

    snapshot_path: str
    mem_file_path: str
    snapshot_type: Literal["Full", "Diff"] | None = None


class MemoryBackend(Body, frozen=True, omit_defaults=True):
    """Where a loaded machine's memory comes from."""

    backend_type: Literal["File", "Uffd"]
    backend_path: str


class NetworkOverride(Body, frozen=True, omit_defaults=True):
    """Another TAP device than the one a machine was saved with."""

    iface_id: str
    host_dev_name: str


class VsockOverride(Body, frozen=True, omit_defaults=True):
    """Another unix socket than the one a machine was saved with."""

    uds_path: str


class SnapshotLoad(Body, frozen=True, omit_defaults=True):
    """What a fresh Firecracker is to continue."""

    snapshot_path: str
    mem_backend: MemoryBackend
    resume_vm: bool | None = None
    track_dirty_pages: bool | None = None
    network_overrides: tuple[NetworkOverride, ...] | None = None
    vsock_override: VsockOverride | None = None


class InstanceInfo(msgspec.Struct, frozen=True):
    """What a Firecracker says of itself."""

    id: str
    state: Literal["Not started", "Running", "Paused"]
    vmm_version: str
    app_name: str


class Fault(msgspec.Struct, frozen=True):
    """The body of a refusal."""

    fault_message: str
