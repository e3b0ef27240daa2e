"""What an image says of how it is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caisson.images.oci.config import Settings, find_user, read_settings
from caisson.images.oci.errors import NoSuchImage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image with a user and a group."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\napp:x:1001:1002::/home/app:\nbroken\nodd:x:a:b::x:\n"
    )
    (tmp_path / "etc/group").write_text("root:x:0:\nstaff:x:50:app\n")
    return tmp_path


@pytest.mark.parametrize(
    ("user", "found"),
    [
        ("", (0, 0, "/root")),
        ("0", (0, 0, "/root")),
        ("app", (1001, 1002, "/home/app")),
        ("1001", (1001, 1002, "/home/app")),
        ("app:staff", (1001, 50, "/home/app")),
        ("app:7", (1001, 7, "/home/app")),
        ("4242", (4242, 0, "/")),
        ("4242:4343", (4242, 4343, "/")),
        ("odd", (0, 0, "/")),
    ],
)
def test_a_user_is_found_by_name_and_by_number(user: str, found: tuple[int, int, str], root: Path) -> None:
    assert find_user(user, root) == found


@pytest.mark.parametrize("user", ["nobody", "app:nobody", "-1", "99999999999", "0x0", "\u0661"])
def test_a_user_that_the_image_does_not_know_is_an_error(user: str, root: Path) -> None:
    with pytest.raises(NoSuchImage, match="does not know"):
        find_user(user, root)


def test_an_image_without_users_runs_as_root_or_as_a_number(tmp_path: Path) -> None:
    assert find_user("", tmp_path) == (0, 0, "/")
    assert find_user("5:6", tmp_path) == (5, 6, "/")


def test_links_are_not_followed_out_of_the_image(root: Path, tmp_path: Path) -> None:
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("/etc/passwd")
    with pytest.raises(NoSuchImage):
        find_user("daemon", root)


def test_settings_are_read(root: Path) -> None:
    config: dict[str, object] = {
        "config": {
            "Entrypoint": ["/run"],
            "Cmd": None,
            "Env": ["PATH=/opt/bin", "EMPTY=", "nonsense", "=x"],
            "WorkingDir": "srv",
            "User": "app",
            "ExposedPorts": {"80/tcp": {}},
        }
    }
    assert read_settings(json.dumps(config).encode(), root) == Settings(
        ("/run",), (), {"PATH": "/opt/bin", "EMPTY": ""}, "/srv", 1001, 1002, "/home/app"
    )


@pytest.mark.parametrize("config", [{}, {"config": None}, {"config": {}}])
def test_an_image_need_not_say_anything(config: dict[str, object], root: Path) -> None:
    assert read_settings(json.dumps(config).encode(), root) == Settings(home="/root")


@pytest.mark.parametrize(
    "config", [b"", b"[]", b"\xff", b'{"config": {"Cmd": "sh"}}', b'{"config": {"Cmd": ["a\\u0000"]}}']
)
def test_settings_that_make_no_sense_are_an_error(config: bytes, root: Path) -> None:
    with pytest.raises(NoSuchImage):
        read_settings(config, root)
