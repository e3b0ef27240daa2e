"""A folder of images stays right though several put the same there at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from caisson.images import sources, tree
from caisson.images.manifest import FileRecord


def test_two_that_copy_a_file_to_one_place_do_not_get_in_each_others_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content")
    record, hash_file = tree.hash_file(source), tree.hash_file

    def after_another(path: Path) -> FileRecord:
        monkeypatch.undo()
        sources._copy_checked(source, target, record)
        return hash_file(path)

    monkeypatch.setattr(tree, "hash_file", after_another)
    sources._copy_checked(source, target, record)
    assert target.read_bytes() == b"content"
    assert sorted(tmp_path.iterdir()) == [source, target]
