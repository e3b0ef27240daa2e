"""What Firecracker is asked for, from the hardware a machine is to have: pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from caisson.backends.microvm.firecracker.shapes import (
    Body,
    BootSource,
    Drive,
    MachineConfiguration,
    MemoryBackend,
    NetworkInterface,
    NetworkOverride,
    RateLimiter,
    SerialDevice,
    SnapshotCreate,
    SnapshotLoad,
    TokenBucket,
    Vsock,
)
from caisson.backends.microvm.vmm import MachineConfig

PORT = 1024
"""The agent's, in the guest."""
KERNEL = "kernel"
INITRAMFS = "initramfs"
CONSOLE = "console.fifo"
VSOCK = "v.sock"
MEMORY = "memory"
STATE = "state"
NIC = "eth0"
_GUEST_CID = 3
"""The same in every machine: it means something only between a guest and its own Firecracker."""
_SECOND_MS = 1000
_CONSOLE_BYTES_S = 256 * 1024
_CONSOLE_BURST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rates:
    """The most that the guest may move, for each drive and for each direction of its network; 0: no limit."""

    disk_bytes_s: int = 0
    network_bytes_s: int = 0


def drive_name(number: int) -> str:
    """What a drive is called, in the API and in the jail."""
    return f"drive{number}"


def boot_arguments(config: MachineConfig) -> str:
    """Parameters of the kernel, then the agent's arguments. Firecracker adds its devices before the `--`."""
    words = ["console=ttyS0", "quiet", "loglevel=4", "panic=-1", "reboot=k", "rdinit=/caisson/agent", "pci=off"]
    words += ["random.trust_cpu=on", "i8042.noaux", "i8042.nomux", "i8042.nopnp", "i8042.dumbkbd"]
    words += config.env_words
    return " ".join([*words, "--", "--init", "--channel", f"vsock:{PORT}", *config.agent])


def configuration(config: MachineConfig, rates: Rates) -> Iterator[tuple[str, Body]]:
    """Paths and bodies to be put, in this order, before the machine starts."""
    yield "/machine-config", MachineConfiguration(vcpu_count=config.vcpus, mem_size_mib=config.ram_mb)
    yield (
        "/boot-source",
        BootSource(kernel_image_path=KERNEL, initrd_path=INITRAMFS, boot_args=boot_arguments(config)),
    )
    for number, drive in enumerate(config.drives):
        name = drive_name(number)
        yield (
            f"/drives/{name}",
            Drive(
                drive_id=name,
                # The agent mounts the root itself.
                is_root_device=False,
                path_on_host=name,
                is_read_only=drive.read_only,
                rate_limiter=_limiter(rates.disk_bytes_s),
            ),
        )
    if config.nic is not None:
        yield (
            f"/network-interfaces/{NIC}",
            NetworkInterface(
                iface_id=NIC,
                host_dev_name=config.nic.tap,
                guest_mac=config.nic.mac,
                rx_rate_limiter=_limiter(rates.network_bytes_s),
                tx_rate_limiter=_limiter(rates.network_bytes_s),
            ),
        )
    yield "/vsock", Vsock(guest_cid=_GUEST_CID, uds_path=VSOCK)
    yield console()


def console() -> tuple[str, Body]:
    """The serial console. What a flood writes above the rate is dropped by Firecracker and costs the host nothing."""
    bucket = TokenBucket(size=_CONSOLE_BYTES_S, refill_time=_SECOND_MS, one_time_burst=_CONSOLE_BURST_BYTES)
    return "/serial", SerialDevice(serial_out_path=CONSOLE, rate_limiter=bucket)


def saving() -> SnapshotCreate:
    """A full snapshot into the jail."""
    return SnapshotCreate(snapshot_type="Full", snapshot_path=STATE, mem_file_path=MEMORY)


def loading(config: MachineConfig) -> SnapshotLoad:
    """A snapshot in the jail, its memory mapped privately from the file. Sockets and drives are called the same."""
    nic = config.nic
    return SnapshotLoad(
        snapshot_path=STATE,
        mem_backend=MemoryBackend(backend_type="File", backend_path=MEMORY),
        resume_vm=False,
        network_overrides=None if nic is None else (NetworkOverride(iface_id=NIC, host_dev_name=nic.tap),),
    )


def _limiter(bytes_s: int) -> RateLimiter | None:
    if not bytes_s:
        return None
    return RateLimiter(bandwidth=TokenBucket(size=bytes_s, refill_time=_SECOND_MS))
