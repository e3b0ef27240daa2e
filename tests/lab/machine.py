"""The lab: an emulated AMD machine with virtualisation, in which `/dev/kvm` and `/dev/vhost-vsock` are real.

Booted once and saved; from then on it is continued from there, in a second or two.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.lab.image import Image, LabUnavailable

MEMORY_MB = 4096
BOOT_TIMEOUT_S = 300
QMP_TIMEOUT_S = 60
SILENCE_S = 1000
"""Longer than any test there may take. A lab that hangs as a whole says nothing of it: not even its kernel notices."""
APPEND = "root=/dev/vda ro console=ttyS0 quiet loglevel=4 panic=-1 init=/lab/init nokaslr mitigations=off"


class Lab:
    """A running lab, which runs one command after the other."""

    def __init__(self, port: socket.socket, console: Path) -> None:
        self._port = port
        self._console = console

    def wait_ready(self) -> None:
        """Until the server in there says hello; only for one that was just booted."""
        self._port.settimeout(BOOT_TIMEOUT_S)
        kind, data = self._frame()
        if kind != b"h" or data != b"lab 1":
            raise LabUnavailable(f"the lab speaks differently: {data!r}")

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str = "/",
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60,
        out: Callable[[bytes], object] | None = None,
    ) -> tuple[int, str]:
        """Run a command in the lab; its exit code and all its output, which `out` gets as it comes."""
        request = {"argv": list(argv), "cwd": cwd, "env": dict(env or {})}
        self._port.settimeout(timeout_s)
        self._port.sendall(json.dumps(request).encode() + b"\n")
        output = bytearray()
        deadline = time.monotonic() + timeout_s
        while True:
            self._port.settimeout(max(0.01, min(SILENCE_S, deadline - time.monotonic())))
            kind, data = self._frame()
            if kind == b"x":
                return int(data), output.decode("utf-8", "replace")
            if kind == b"h":
                raise LabUnavailable(
                    "the lab's kernel went down, as emulated virtualisation now and then makes it do: try again; "
                    f"its console ends with:\n{self.console[-3000:]}"
                )
            output += data
            if out is not None:
                out(data)

    @property
    def console(self) -> str:
        """What its kernel and its init wrote."""
        return self._console.read_text(errors="replace")

    def _frame(self) -> tuple[bytes, bytes]:
        kind, length = struct.unpack(">cI", self._exactly(5))
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        try:
            while len(data) < count:
                piece = self._port.recv(count - len(data))
                if not piece:
                    raise LabUnavailable(f"the lab is gone; its console ends with:\n{self.console[-3000:]}")
                data += piece
        except TimeoutError as error:
            raise LabUnavailable(
                "the lab is silent, as emulated virtualisation now and then makes it: try again; "
                f"its console ends with:\n{self.console[-3000:]}"
            ) from error
        return bytes(data)


@contextmanager
def running(image: Image, payload: Path, say: Callable[[str], None] = print) -> Iterator[Lab]:
    """A lab with `/payload` mounted; continued from its snapshot, or booted and saved for the next time."""
    if not _is_saved(image):
        say("lab: booting it once, to be continued from here later")
        with _qemu(image, payload, "boot") as (lab, qmp):
            lab.wait_ready()
            _save(image, qmp)
    with _qemu(image, payload, "continue") as (lab, _):
        code, said = lab.run(["sh", "-c", _MOUNT])
        if code != 0:
            raise LabUnavailable(f"the project could not be shown to the lab: {said}")
        yield lab


# A processor may never come back from a machine that runs on it, a fault of the emulation: the kernel then ends after
# two minutes (twice the threshold), and with it the run.
_MOUNT = """
echo 60 >/proc/sys/kernel/watchdog_thresh
echo 1 >/proc/sys/kernel/softlockup_panic
date -s @$(cat /sys/class/rtc/rtc0/since_epoch) >/dev/null
chgrp kvm /dev/kvm && chmod 660 /dev/kvm
mkdir -p /payload /tmp/over/upper /tmp/over/work /repo
blockdev --flushbufs /dev/vdb
mount -t erofs -o ro /dev/vdb /payload
mount -t overlay -o lowerdir=/payload/repo,upperdir=/tmp/over/upper,workdir=/tmp/over/work repo /repo
printf '%s\\n' /lab/packages /repo/src /repo /payload/metadata >/usr/lib/python3/dist-packages/lab.pth
cat >/usr/bin/caisson <<'END'
#!/usr/bin/python3
import sys
from caisson.cli.main import main
if sys.argv[1:2] == ["serve"]:
    from tests.lab.inside.patience import be_patient
    be_patient()
sys.exit(main())
END
chmod 755 /usr/bin/caisson
"""


def _is_saved(image: Image) -> bool:
    return (image.folder / "state").exists()


def _save(image: Image, qmp: _Qmp) -> None:
    qmp.run("stop")
    qmp.run("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
    part = image.folder / "state.part"
    qmp.run("migrate", uri=f"exec:cat > {part}")
    qmp.wait_migrated()
    part.rename(image.folder / "state")


@contextmanager
def _qemu(image: Image, payload: Path, how: str) -> Iterator[tuple[Lab, _Qmp]]:
    binary = shutil.which("qemu-system-x86_64")
    if binary is None:
        raise LabUnavailable("qemu-system-x86_64 is not installed")
    with tempfile.TemporaryDirectory(prefix="caisson-lab-") as name:
        folder = Path(name)
        memory = image.folder / "memory"
        if how == "boot":
            memory.unlink(missing_ok=True)
        share = "on" if how == "boot" else "off"
        command = [binary, "-nodefaults", "-no-user-config", "-display", "none"]
        command += ["-M", "q35,memory-backend=ram", "-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm,+npt"]
        command += ["-smp", str(min(2, os.cpu_count() or 1)), "-m", f"{MEMORY_MB}M"]
        command += ["-object", f"memory-backend-file,id=ram,size={MEMORY_MB}M,mem-path={memory},share={share}"]
        command += ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", APPEND]
        for number, disk in enumerate([image.disk, payload]):
            command += ["-drive", f"if=none,id=disk{number},format=raw,readonly=on,file.locking=off,file={disk}"]
            command += ["-device", f"virtio-blk-pci,drive=disk{number}"]
        command += ["-chardev", f"file,id=console,path={folder}/console", "-serial", "chardev:console"]
        command += ["-device", "virtio-serial-pci"]
        command += ["-chardev", f"socket,id=lab,path={folder}/lab,server=on,wait=off"]
        command += ["-device", "virtserialport,chardev=lab,name=lab"]
        command += [
            "-chardev",
            f"socket,id=qmp,path={folder}/qmp,server=on,wait=off",
            "-mon",
            "chardev=qmp,mode=control",
        ]
        if how == "continue":
            command += ["-incoming", "defer"]
        with (folder / "words").open("w+b") as words, ExitStack() as stack:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words)
            try:
                control = stack.enter_context(_connected(folder / "qmp", process, folder / "words"))
                qmp = _Qmp(stack.enter_context(control.makefile("rwb", buffering=0)))
                port = stack.enter_context(_connected(folder / "lab", process, folder / "words"))
                lab = Lab(port, folder / "console")
                if how == "continue":
                    qmp.run("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
                    qmp.run("migrate-incoming", uri=f"exec:cat {image.folder / 'state'}")
                    qmp.wait_migrated()
                    qmp.run("cont")
                yield lab, qmp
            finally:
                process.kill()
                process.wait()


def _connected(path: Path, process: subprocess.Popen[bytes], words: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + QMP_TIMEOUT_S
    while True:
        try:
            client.connect(str(path))
            client.settimeout(QMP_TIMEOUT_S)
            return client
        except (FileNotFoundError, ConnectionRefusedError):
            if process.poll() is not None or time.monotonic() > deadline:
                client.close()
                raise LabUnavailable(f"QEMU did not start the lab: {words.read_text()}") from None
            time.sleep(0.01)


class _Qmp:
    """QEMU's control socket, as much of it as is needed here."""

    def __init__(self, file: socket.SocketIO) -> None:
        self._file = file
        self._file.readline()
        self.run("qmp_capabilities")

    def run(self, command: str, **arguments: Any) -> Any:
        self._file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(self._file.readline())
            if "error" in answer:
                raise LabUnavailable(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def wait_migrated(self) -> None:
        deadline = time.monotonic() + QMP_TIMEOUT_S
        while (status := self.run("query-migrate").get("status")) != "completed":
            if status == "failed" or time.monotonic() > deadline:
                raise LabUnavailable(f"the lab's snapshot: {status}")
            time.sleep(0.05)
