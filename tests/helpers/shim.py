"""A shared library that stands between a server and the C library, with numbers that a test may change as it goes."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SIZE = struct.calcsize("l")
HEAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long *numbers;

__attribute__((constructor)) static void begin(void) {
    int fd = open(NUMBERS, O_RDWR | O_CLOEXEC);
    void *at = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) numbers = at;
}
"""


class Shim:
    """The library, for `start_server(preload=…)`, and its numbers, all 0 at first. Skips where no compiler is."""

    def __init__(self, folder: Path, source: str) -> None:
        if shutil.which("cc") is None:
            pytest.skip("no C compiler here")
        numbers, code, self.path = folder / "numbers", folder / "shim.c", folder / "shim.so"
        numbers.write_bytes(bytes(mmap.PAGESIZE))
        code.write_text(HEAD + source)
        options = ["-shared", "-fPIC", "-O1", f'-DNUMBERS="{numbers}"', "-o", str(self.path)]
        subprocess.run(["cc", *options, str(code), "-ldl"], check=True)
        with numbers.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def __getitem__(self, number: int) -> int:
        found: int = struct.unpack_from("l", self._shared, number * SIZE)[0]
        return found

    def __setitem__(self, number: int, value: int) -> None:
        struct.pack_into("l", self._shared, number * SIZE, value)

    def close(self) -> None:
        self._shared.close()
