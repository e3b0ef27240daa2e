"""QEMU's command line for a micro-VM, inside its jail.

Nothing is opened by name: sockets, kernel, drives and memory are descriptors that were opened outside, so the jail need
not show any of them and QEMU needs no right to any path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from caisson.backends.microvm.vmm import Acceleration, MachineConfig
from caisson.host.birthmark import own_mark

CONSOLE_BYTES = 64 * 1024
AGENT_CHANNEL = "device:/dev/vport0p1"
_OPEN_FILES = 1024
_TRANSLATED_MB = 64
"""Of translated code that is kept. Without a limit it is a gigabyte, and the host's limit would end the machine."""
_MMIO_BASE = 0xFEB0_0000
_MMIO_BYTES = 512
_MMIO_IRQ = 5
"""Where the machine without ACPI has the first of its eight virtio devices; hw/i386/microvm.c of QEMU."""
# What QEMU itself needs to see; its libraries and firmware lie in /usr.
_LINKS = {"/lib": "usr/lib", "/lib64": "usr/lib64", "/bin": "usr/bin", "/sbin": "usr/sbin"}


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Open files and sockets that QEMU inherits under these numbers."""

    kernel: int
    initramfs: int
    drives: tuple[int, ...]
    qmp: int
    agent: int
    memory: int | None = None
    tap: int | None = None

    def all(self) -> tuple[int, ...]:
        """Every one of them."""
        own = (self.kernel, self.initramfs, *self.drives, self.qmp, self.agent)
        return own + tuple(fd for fd in (self.memory, self.tap) if fd is not None)


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs the guest's instructions, and how the guest learns the time from it."""

    binary: str
    acceleration: Acceleration
    tsc_khz: int | None
    """How fast the host's time stamp counter runs; None where that is unknown or changes."""

    @property
    def cpu(self) -> str:
        """The model of CPU the guest sees. `qemu64` lacks RDRAND, and a guest then waits for randomness."""
        return "host" if self.acceleration is Acceleration.KVM else "max"


def kernel_command_line(config: MachineConfig, engine: Engine) -> str:
    """Parameters of the kernel, then the agent's arguments."""
    words = ["console=ttyS0", "quiet", "loglevel=4", "panic=-1", "reboot=t", "rdinit=/caisson/agent"]
    words += ["random.trust_cpu=on", "i8042.noaux", "i8042.nomux", "i8042.nopnp", "i8042.dumbkbd"]
    if engine.acceleration is Acceleration.EMULATED:
        # The guest's own measurement of an emulated counter fails now and then, and the boot hangs; so it is told.
        # Told, it is not to mistrust the counter either: what it compares it with loses ticks on a busy host.
        words += ["notsc"] if engine.tsc_khz is None else [f"tsc_early_khz={engine.tsc_khz}", "tsc=reliable"]
    if not _has_acpi(config):
        # Written here, since QEMU itself would add them at the end, where they are arguments of the agent.
        for number in range(_device_count(config)):
            words.append(
                f"virtio_mmio.device={_MMIO_BYTES}@{_MMIO_BASE + number * _MMIO_BYTES:#x}:{_MMIO_IRQ + number}"
            )
    words += config.env_words
    agent = ["--init", "--channel", AGENT_CHANNEL, *config.agent]
    return " ".join([*words, "--", *agent])


def machine_type(config: MachineConfig) -> str:
    """The machine: as few devices as a kernel can do with."""
    options = {
        "acpi": "on" if _has_acpi(config) else "off",
        "x-option-roms": "off",
        "auto-kernel-cmdline": "off",
        "ioapic2": "off",
        "memory-backend": "ram",
    }
    return ",".join(["microvm", *(f"{name}={value}" for name, value in options.items())])


def qemu_arguments(
    config: MachineConfig, engine: Engine, fds: Descriptors, *, shared: bool = False, incoming: bool = False
) -> list[str]:
    """QEMU and its arguments. `shared`: what the guest writes goes to `fds.memory`; else that is only read."""
    kvm = engine.acceleration is Acceleration.KVM
    line = [engine.binary, "-nodefaults", "-no-user-config", "-display", "none", "-S"]
    line += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    line += ["-action", "reboot=shutdown,shutdown=pause,panic=pause"]
    accelerator = "kvm" if kvm else f"tcg,thread=multi,tb-size={_TRANSLATED_MB}"
    line += ["-M", machine_type(config), "-accel", accelerator]
    line += ["-cpu", engine.cpu, "-smp", str(config.vcpus), "-m", f"{config.ram_mb}M"]
    line += ["-global", "virtio-mmio.force-legacy=false"]
    if fds.memory is None:
        line += ["-object", f"memory-backend-ram,id=ram,size={config.ram_mb}M"]
    else:
        share = "on" if shared else "off"
        path = f"/proc/self/fd/{fds.memory}"
        line += ["-object", f"memory-backend-file,id=ram,size={config.ram_mb}M,mem-path={path},share={share}"]
    line += ["-kernel", f"/proc/self/fd/{fds.kernel}", "-initrd", f"/proc/self/fd/{fds.initramfs}"]
    line += ["-append", kernel_command_line(config, engine)]
    line += ["-chardev", f"ringbuf,id=console,size={CONSOLE_BYTES}", "-serial", "chardev:console"]
    line += ["-chardev", f"socket,id=qmp,fd={fds.qmp}", "-mon", "chardev=qmp,mode=control"]
    buses = _buses(config)
    line += ["-device", f"virtio-serial-device,max_ports=2,{next(buses)}"]
    line += ["-chardev", f"socket,id=agent,fd={fds.agent}", "-device", "virtserialport,chardev=agent,name=caisson"]
    for number, (drive, fd) in enumerate(zip(config.drives, fds.drives, strict=True)):
        line += ["-add-fd", f"fd={fd},set={number}"]
        access = "read-only=on" if drive.read_only else "read-only=off,auto-read-only=off,cache=unsafe,discard=unmap"
        place = f"file=/dev/fdset/{number},file.locking=off"
        line += ["-drive", f"if=none,id=drive{number},format=raw,{place},{access}"]
        line += ["-device", f"virtio-blk-device,drive=drive{number},{next(buses)}"]
    if config.nic is not None and fds.tap is not None:
        line += ["-netdev", f"tap,id=net,fd={fds.tap}"]
        line += ["-device", f"virtio-net-device,netdev=net,mac={config.nic.mac},{next(buses)}"]
    return [*line, "-incoming", "defer"] if incoming else line


def _has_acpi(config: MachineConfig) -> bool:
    """Without it a machine boots faster, and our own kernel finds one CPU only."""
    return config.kernel.needs_acpi or config.vcpus > 1


def _device_count(config: MachineConfig) -> int:
    """The channel, the drives, the card."""
    return 1 + len(config.drives) + (config.nic is not None)


def _buses(config: MachineConfig) -> Iterator[str]:
    """Where each device goes, so that the guest finds the channel first and the drives in their order."""
    numbers = range(_device_count(config))
    # ACPI's list of the devices begins with the last one.
    return (f"bus=virtio-mmio-bus.{number}" for number in (reversed(numbers) if _has_acpi(config) else numbers))


def jailed(command: Sequence[str], *, uid: int | None, gid: int | None, kvm: bool, info_fd: int) -> list[str]:
    """The chain of programs that puts QEMU into its jail: no capability, no host file but /usr, no network.

    bwrap writes the process id of QEMU to `info_fd`. `gid` may be the group that owns /dev/kvm.
    """
    chain = ["prlimit", f"--nofile={_OPEN_FILES}", "--core=0", "--"]
    if uid is not None:
        chain += ["setpriv", f"--reuid={uid}", f"--regid={uid if gid is None else gid}", "--clear-groups", "--"]
    chain += ["bwrap", "--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534"]
    chain += ["--hostname", "caisson", "--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    chain += ["--info-fd", str(info_fd), "--clearenv", "--setenv", "PATH", "/usr/bin"]
    for variable in own_mark().items():
        chain += ["--setenv", *variable]
    chain += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev-bind", "/dev/null", "/dev/null"]
    for name, target in _LINKS.items():
        chain += ["--symlink", target, name]
    if Path("/etc/ld.so.cache").exists():
        chain += ["--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    if kvm:
        chain += ["--dev-bind", "/dev/kvm", "/dev/kvm"]
    return [*chain, "--remount-ro", "/", "--chdir", "/", "--", *command]
