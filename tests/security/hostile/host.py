"""What hostile programs are after: a host with a secret in a file, behind a port, in sockets, a process and a key."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.netns import HOST_ADDRESS, HOST_PRIVATE

SETTINGS_OF_THE_KERNEL = (
    *("kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "kernel/sysrq", "vm/overcommit_memory"),
    *("kernel/panic_on_oom", "kernel/randomize_va_space", "kernel/yama/ptrace_scope"),
)
_ADD_KEY, _KEYCTL, _USER_KEYRING, _UNLINK = 248, 250, -4, 9


@dataclass
class Host:
    """The secret, where it lies, and what has been seen of anybody who came for it."""

    folder: Path
    secret: str
    port: int
    socket_name: str
    process: subprocess.Popen[bytes]
    key: str
    visitors: list[str] = field(default_factory=list)
    _before: object = None

    @property
    def facts(self) -> dict[str, str]:
        """What programs are told, so that they need not guess: an attacker may know all but the secret."""
        return {
            "HOST_FILE": str(self.folder / "file"),
            "HOST_FOLDER": str(self.folder),
            "HOST_PORT": str(self.port),
            "HOST_ADDRESSES": f"127.0.0.1,{HOST_ADDRESS},{HOST_PRIVATE}",
            "HOST_SOCKET": self.socket_name,
            "HOST_PID": str(self.process.pid),
            "HOST_KEY": self.key,
            "HOST_BOOT_ID": _text("/proc/sys/kernel/random/boot_id"),
            "HOST_NAME": socket.gethostname(),
            "HOST_MACHINE_ID": _text("/etc/machine-id"),
            "HOST_CMDLINE": _text("/proc/cmdline"),
        }

    def look(self) -> object:
        """Everything a program must not have changed."""
        files = {path.name: (path.lstat()[:6], path.stat().st_mtime_ns) for path in self.folder.iterdir()}
        kernel = {name: _text(f"/proc/sys/{name}") for name in SETTINGS_OF_THE_KERNEL}
        return files, (self.folder / "file").read_text(), kernel, _text("/etc/passwd")

    def complaints(self) -> list[str]:
        """What somebody did to it."""
        wrong = [f"somebody came to its {where}" for where in self.visitors]
        if self.look() != self._before:
            wrong.append(f"it was changed: {self._before} before, {self.look()} now")
        if self.process.poll() is not None:
            wrong.append(f"its process ended with {self.process.returncode}")
        return wrong


@contextmanager
def host() -> Iterator[Host]:
    """Everything in this thread's network namespace."""
    name = f"canary-{secrets.token_hex(8)}"
    secret = f"secret-{secrets.token_hex(16)}"
    with ExitStack() as stack:
        # Where everybody on the host may read, so that nothing but a sandbox's walls keeps it.
        folder = Path(tempfile.mkdtemp(prefix="canary-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, folder)
        folder.chmod(0o755)
        (folder / "file").write_text(f"canary {secret}")
        (folder / "file").chmod(0o644)
        process = stack.enter_context(
            subprocess.Popen(["sleep", "3600"], env={"CANARY": secret}, stdin=subprocess.DEVNULL, close_fds=True)
        )
        stack.callback(process.kill)
        tcp = stack.enter_context(socket.create_server(("0.0.0.0", 0), backlog=64))
        made = Host(folder, secret, tcp.getsockname()[1], name, process, name)
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("0.0.0.0", made.port))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind("\0" + name)
        plain = stack.enter_context(socket.socket(socket.AF_UNIX))
        plain.bind(str(folder / "socket"))
        (folder / "socket").chmod(0o666)
        for each in (abstract, plain):
            each.listen(64)
        stack.enter_context(_key(name, secret))
        made._before = made.look()
        doors = {"port": tcp, "datagram port": udp, "abstract socket": abstract, "socket": plain}
        for where, door in doors.items():
            stack.enter_context(_watched(where, door, made))
        yield made


@contextmanager
def _watched(where: str, door: socket.socket, host: Host) -> Iterator[None]:
    """Note who comes, and tell them the secret."""
    door.settimeout(0.1)
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                if door.type == socket.SOCK_DGRAM:
                    _, sender = door.recvfrom(1500)
                    host.visitors.append(f"{where}, from {sender}")
                    continue
                connection, sender = door.accept()
                host.visitors.append(f"{where}, from {sender}")
                with connection, suppress(OSError):
                    connection.sendall(host.secret.encode())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _key(name: str, secret: str) -> Iterator[None]:
    """A key in the user's keyring, where the kernel lets this user have one."""
    call = ctypes.CDLL(None).syscall
    number = call(_ADD_KEY, b"user", name.encode(), secret.encode(), len(secret), _USER_KEYRING)
    try:
        yield
    finally:
        if number > 0:
            call(_KEYCTL, _UNLINK, number, _USER_KEYRING)


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def is_root() -> bool:
    """True where network namespaces can be made, and sandboxes get users of their own."""
    return os.geteuid() == 0
