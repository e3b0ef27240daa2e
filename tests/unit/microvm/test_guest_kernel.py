"""The guest's kernel has what the design stands on: what keeps guests apart, and what they see the world through."""

from __future__ import annotations

import pytest

from caisson.images.catalog import Catalog
from caisson.images.kernels import CONFIG, FRAGMENT, KERNEL, unmet
from tests.helpers.images import IMAGES_DIR

NEEDED = {
    "mitigations": (
        "CPU_MITIGATIONS PAGE_TABLE_ISOLATION RETPOLINE RETHUNK CPU_UNRET_ENTRY CPU_SRSO CPU_IBPB_ENTRY CPU_IBRS_ENTRY "
        "SLS MITIGATION_RFDS MITIGATION_SPECTRE_BHI MITIGATION_ITS MITIGATION_TSA"
    ),
    "hardening": "STACKPROTECTOR_STRONG STRICT_KERNEL_RWX FORTIFY_SOURCE HARDENED_USERCOPY VMAP_STACK",
    "seccomp": "SECCOMP SECCOMP_FILTER",
    "cgroups v2": "CGROUPS MEMCG CGROUP_PIDS CGROUP_SCHED CFS_BANDWIDTH",
    "file systems": "OVERLAY_FS EROFS_FS EROFS_FS_ZIP EROFS_FS_XATTR EXT4_FS TMPFS DEVTMPFS",
    "vsock": "VSOCKETS VIRTIO_VSOCKETS",
    "devices": "VIRTIO_MMIO VIRTIO_MMIO_CMDLINE_DEVICES VIRTIO_PCI VIRTIO_BLK VIRTIO_CONSOLE VIRTIO_NET",
    "boot": "PVH BLK_DEV_INITRD KVM_GUEST SERIAL_8250_CONSOLE",
    "namespaces": "NAMESPACES USER_NS PID_NS NET_NS UTS_NS IPC_NS",
}
UNWANTED = {"MODULES", "IA32_EMULATION"}
"""What nobody loads, and what nobody runs, cannot be attacked."""


@pytest.fixture(scope="module")
def built() -> str:
    """The configuration our own kernel came out with; skips where nobody built it."""
    image = Catalog(IMAGES_DIR).find(KERNEL)
    if image is None:
        pytest.skip("our own kernel takes minutes to build: caisson images build kernel --images-dir build/images")
    return image.path(CONFIG).read_text()


@pytest.mark.parametrize("what", NEEDED)
def test_the_fragment_asks_for_it(what: str) -> None:
    asked = set(FRAGMENT.read_text().splitlines())
    assert [name for name in NEEDED[what].split() if f"CONFIG_{name}=y" not in asked] == []


@pytest.mark.parametrize("what", NEEDED)
def test_the_kernel_that_was_built_has_it(what: str, built: str) -> None:
    given = set(built.splitlines())
    assert [name for name in NEEDED[what].split() if f"CONFIG_{name}=y" not in given] == []


def test_the_kernel_that_was_built_has_nothing_to_load_code_with(built: str) -> None:
    given = set(built.splitlines())
    assert [name for name in UNWANTED if f"CONFIG_{name}=y" in given] == []
    assert unmet("".join(f"CONFIG_{name}=n\n" for name in UNWANTED), FRAGMENT.read_text()) == []


def test_a_wish_that_kconfig_dropped_is_noticed() -> None:
    fragment = "CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=4\n\nCONFIG_D=y\n"
    config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=4\n# CONFIG_D is not set\n"
    assert unmet(fragment, config) == ["CONFIG_D=y"]
    assert unmet(fragment, config.replace("# CONFIG_B is not set", "CONFIG_B=y")) == ["CONFIG_B=n", "CONFIG_D=y"]
    assert unmet(fragment, config.replace("C=4", "C=5")) == ["CONFIG_C=4", "CONFIG_D=y"]
