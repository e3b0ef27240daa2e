"""The lab itself, where its image was made: a machine with KVM, up in seconds and gone without a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import image, machine


def test_the_lab_continues_with_kvm_and_the_work_tree_in_it(tmp_path: Path) -> None:
    made = image.find()
    if made is None:
        pytest.skip("the lab's image was not made: `make lab` makes it")
    packed = tmp_path / "payload.erofs"
    image.payload(packed, {})
    with machine.running(made, packed) as lab:
        code, said = lab.run(["sh", "-c", "test -c /dev/kvm && test -c /dev/vhost-vsock && cat /repo/Makefile"])
        assert code == 0, said
        assert said == (image.ROOT / "Makefile").read_text()
        assert lab.run(["false"])[0] == 1
        assert lab.run(["no-such-program"])[0] == 127
