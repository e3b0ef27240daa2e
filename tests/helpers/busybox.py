"""A small image that really runs: BusyBox, a user, a program and settings."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from tests.helpers.oci_images import Entry, MadeImage, make_image, make_layer

PROGRAMS = (
    *("sh", "cat", "id", "echo", "pwd", "ls", "env", "touch", "sleep"),
    *("chroot", "cp", "date", "head", "hostname", "kill", "mkdir", "mknod", "mount", "tr"),
)
SAY = """
echo "user $(id -u):$(id -g) in $(pwd)"
echo "$A $HOME"
echo 1 >mine && echo written
cat
"""


def busybox_image(user: str = "app") -> MadeImage:
    """Runs `SAY` as `user` in /srv/app; its entry point is a shell."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox-static is not installed")
    layer = make_layer(
        [
            Entry("bin", kind=tarfile.DIRTYPE, mode=0o755),
            Entry("bin/busybox", Path(busybox).read_bytes(), mode=0o755),
            *(Entry(f"bin/{name}", kind=tarfile.SYMTYPE, link="busybox") for name in PROGRAMS),
            Entry("etc", kind=tarfile.DIRTYPE, mode=0o755),
            Entry("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:1001:1002::/home/app:/bin/sh\n"),
            Entry("say", SAY.encode(), mode=0o755),
        ]
    )
    return make_image(
        layer, Entrypoint=["/bin/sh"], Cmd=["/say"], Env=["A=from the image"], User=user, WorkingDir="/srv/app"
    )
