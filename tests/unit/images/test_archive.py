"""The archive reader takes what an honest tool packs and refuses everything else, always with ArchiveError."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caisson.images.archive import ArchiveError, ArchiveLimits, check_archive, extract_archive, read_archive

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def tar(*members: tuple[tarfile.TarInfo, bytes], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def save(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes a tar stream, compressed, to a file."""

    def write(data: bytes, compress: bool = True) -> Path:
        path = tmp_path / "archive.tar.gz"
        path.write_bytes(gzip.compress(data, 1) if compress else data)
        return path

    return write


def read(path: Path, limits: ArchiveLimits | None = None) -> dict[str, bytes | None]:
    entries = read_archive(path, limits) if limits else read_archive(path)
    return {entry.path: None if entry.is_dir else b"".join(entry.data) for entry in entries}


@pytest.mark.parametrize("tar_format", FORMATS)
def test_files_and_folders_are_read_in_every_common_format(save: Callable[..., Path], tar_format: int) -> None:
    folder, _ = member("lib", type=tarfile.DIRTYPE, mode=0o755)
    path = save(tar((folder, b""), member("lib/ü.py", b"x = 1\n"), member("main.py", b""), tar_format=tar_format))
    assert read(path) == {"lib": None, "lib/ü.py": b"x = 1\n", "main.py": b""}


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_longer_than_a_header_field_are_read_whole(save: Callable[..., Path], tar_format: int) -> None:
    name = "/".join(["folder-" * 10] * 5) + "/main.py"
    assert read(save(tar(member(name, b"1"), tar_format=tar_format))) == {name: b"1"}


def test_what_git_archive_and_tar_of_a_folder_add_is_accepted(save: Callable[..., Path]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", pax_headers={"comment": "a" * 40}) as archive:
        archive.addfile(member("./", type=tarfile.DIRTYPE)[0])
        archive.addfile(member("./main.py", b"1")[0], io.BytesIO(b"1"))
    assert read(save(buffer.getvalue())) == {"main.py": b"1"}


def test_only_the_executable_bit_of_a_mode_is_kept(save: Callable[..., Path]) -> None:
    path = save(tar(member("setuid", mode=0o6777), member("plain", mode=0o666), member("odd", mode=0o000)))
    assert {entry.path: entry.mode for entry in read_archive(path)} == {"setuid": 0o755, "plain": 0o644, "odd": 0o644}


def test_content_that_the_caller_leaves_is_skipped(save: Callable[..., Path]) -> None:
    path = save(tar(member("a", b"x" * 200_000), member("b", b"y")))
    entries = read_archive(path)
    assert next(next(entries).data)
    assert b"".join(next(entries).data) == b"y"


def test_the_summary_counts_files_folders_and_bytes(save: Callable[..., Path]) -> None:
    summary = check_archive(save(tar(member("a", type=tarfile.DIRTYPE), member("a/b", b"123"), member("c", b"4"))))
    assert (summary.files, summary.folders, summary.unpacked_bytes) == (("a/b", "c"), 1, 4)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/etc/passwd", "absolute"),
        ("../up", "`..`"),
        ("a/../../up", "`..`"),
        ("a\\b", "backslash"),
        ("x" * 256, "longer than 255"),
        ("/".join("d" * 65), "levels"),
        ("é" * 128 + "/x", "longer than 255"),
        ("/".join(["y" * 200] * 6), "longer than 1024"),
    ],
)
def test_a_dangerous_name_is_refused_and_named(save: Callable[..., Path], name: str, why: str) -> None:
    info, content = member("placeholder", b"1")
    info.pax_headers = {"path": name}
    with pytest.raises(ArchiveError, match=why) as caught:
        check_archive(save(tar((info, content))))
    assert caught.value.entry


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"7", b"S", b"A", b"V"],
)
def test_anything_but_a_file_or_folder_is_refused(save: Callable[..., Path], kind: bytes) -> None:
    with pytest.raises(ArchiveError, match="not accepted") as caught:
        check_archive(save(tar(member("evil", type=kind, linkname="/etc/passwd"))))
    assert caught.value.entry == "evil"


def test_a_pax_sparse_file_is_refused(save: Callable[..., Path]) -> None:
    info, content = member("hole", b"1")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": "1000000000000"}
    with pytest.raises(ArchiveError, match="sparse"):
        check_archive(save(tar((info, content))))


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (member("a", b"1"), member("a", b"2"), "twice"),
        (member("a", b"1"), member("./a", b"2"), "twice"),
        (member("a", type=tarfile.DIRTYPE), member("a", b"2"), "twice"),
        (member("a", b"1"), member("a/b", b"2"), "used as a folder"),
        (member("a/b", b"1"), member("a", b"2"), "used as a file"),
    ],
)
def test_no_path_is_two_things(
    save: Callable[..., Path],
    first: tuple[tarfile.TarInfo, bytes],
    second: tuple[tarfile.TarInfo, bytes],
    why: str,
) -> None:
    with pytest.raises(ArchiveError, match=why):
        check_archive(save(tar(first, second)))


def test_a_folder_may_follow_what_is_in_it(save: Callable[..., Path]) -> None:
    assert read(save(tar(member("a/b", b"1"), member("a", type=tarfile.DIRTYPE)))) == {"a/b": b"1", "a": None}


def test_too_many_entries_are_refused_and_parents_count(save: Callable[..., Path]) -> None:
    limits = ArchiveLimits(entries=10)
    assert len(read(save(tar(*(member(f"{i}") for i in range(10)))), limits)) == 10
    with pytest.raises(ArchiveError, match="more than 10"):
        read(save(tar(*(member(f"{i}") for i in range(11)))), limits)
    with pytest.raises(ArchiveError, match="more than 10"):
        read(save(tar(*(member(f"{i}/x") for i in range(6)))), limits)


def test_ten_thousand_nested_folders_are_refused(save: Callable[..., Path]) -> None:
    info, content = member("placeholder", type=tarfile.DIRTYPE)
    info.pax_headers = {"path": "d/" * 10_000}
    with pytest.raises(ArchiveError, match="longer than 1024"):
        check_archive(save(tar((info, content))))


def test_more_content_than_allowed_is_refused(save: Callable[..., Path]) -> None:
    path = save(tar(member("a", b"x" * 600), member("b", b"x" * 600)))
    assert read(path, ArchiveLimits(unpacked_bytes=1200))
    with pytest.raises(ArchiveError, match="more than 1199 bytes"):
        read(path, ArchiveLimits(unpacked_bytes=1199))


def test_a_bomb_of_zeros_is_stopped_at_the_cap(save: Callable[..., Path]) -> None:
    padding = tar(member("a", b"1")) + bytes(1 << 20)
    with pytest.raises(ArchiveError, match="inflates to more"):
        read(save(padding), ArchiveLimits(unpacked_bytes=1000, entries=10))


def test_a_flood_of_extended_headers_is_stopped(save: Callable[..., Path]) -> None:
    header = tar(member("a"))[: 3 * 512]
    one = tarfile.TarInfo.create_pax_global_header({"comment": "x"})
    with pytest.raises(ArchiveError, match="too many"):
        check_archive(save(one * 100 + header))


def test_a_global_header_cannot_rename(save: Callable[..., Path]) -> None:
    with pytest.raises(ArchiveError, match="global"):
        check_archive(save(tarfile.TarInfo.create_pax_global_header({"path": "x"}) + tar(member("a"))))


@pytest.mark.parametrize(
    "size", [b"\xff" * 12, b"\x80" + bytes(10) + b"\x01", b"-0000000001\0", b"9999999999\0\0", b"77777777777\0"]
)
def test_impossible_sizes_are_refused(save: Callable[..., Path], size: bytes) -> None:
    data = bytearray(tar(member("a", b"1"), tar_format=tarfile.USTAR_FORMAT))
    data[124:136] = size
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    with pytest.raises(ArchiveError):
        check_archive(save(bytes(data)))


def test_a_header_with_a_wrong_checksum_is_refused(save: Callable[..., Path]) -> None:
    data = bytearray(tar(member("a", b"1")))
    data[0] ^= 1
    with pytest.raises(ArchiveError, match="checksum"):
        check_archive(save(bytes(data)))


def test_a_name_that_is_not_utf8_is_refused(save: Callable[..., Path]) -> None:
    with pytest.raises(ArchiveError, match="UTF-8"):
        check_archive(save(tar(member("caf\udce9", b"1"), tar_format=tarfile.USTAR_FORMAT)))


@pytest.mark.parametrize("keep", [0, 5, 200, 600, 1024, 1535])
def test_a_cut_tar_stream_is_refused(save: Callable[..., Path], keep: int) -> None:
    with pytest.raises(ArchiveError, match=r"cut off|gzip"):
        check_archive(save(tar(member("a", b"1" * 600))[:keep]))


def test_a_cut_gzip_file_is_refused_wherever_it_is_cut(save: Callable[..., Path]) -> None:
    whole = gzip.compress(tar(member("a", os.urandom(2000))))
    for keep in range(0, len(whole), 97):
        with pytest.raises(ArchiveError, match="cut off"):
            check_archive(save(whole[:keep], compress=False))


@pytest.mark.parametrize("extra", [b"x", b"\0" * 9 + b"x", gzip.compress(b"more", mtime=0)])
def test_nothing_may_follow_the_gzip_data(save: Callable[..., Path], extra: bytes) -> None:
    with pytest.raises(ArchiveError, match="follows"):
        check_archive(save(gzip.compress(tar(member("a"))) + extra, compress=False))


def test_nothing_may_follow_the_end_of_the_tar_stream(save: Callable[..., Path]) -> None:
    with pytest.raises(ArchiveError, match="follows"):
        check_archive(save(tar(member("a")) + tar(member("b"))))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 a zip file", b"\x1f\x8b garbage", bytes(2000)])
def test_what_is_not_a_gzip_file_is_refused(save: Callable[..., Path], data: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"gzip|cut off"):
        check_archive(save(data, compress=False))


def test_extraction_writes_files_and_folders_with_plain_modes(save: Callable[..., Path], tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    path = save(tar(member("bin/run", b"#!", mode=0o4755), member("empty", type=tarfile.DIRTYPE, mode=0o000)))
    extract_archive(path, target)
    assert (target / "bin/run").read_bytes() == b"#!"
    assert (target / "bin/run").stat().st_mode & 0o7777 == 0o755
    assert (target / "empty").is_dir()


def test_extraction_follows_no_link_that_someone_else_put_there(save: Callable[..., Path], tmp_path: Path) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    (target / "a").symlink_to(outside)
    (target / "b").symlink_to(outside / "b")
    for name in ("a/x", "b"):
        with pytest.raises(OSError, match=r"Not a directory|Too many levels|File exists"):
            extract_archive(save(tar(member(name, b"1"))), target)
    assert not list(outside.iterdir())


names = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..")
)
trees = st.dictionaries(names, st.binary(max_size=3000), max_size=8)


@given(tree=trees, tar_format=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), folder=names)
@settings(deadline=None)
def test_honest_archives_read_the_same_as_with_pythons_own_reader(
    tree: dict[str, bytes], tar_format: int, folder: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = tar(*(member(f"{folder}/{name}", content) for name, content in tree.items()), tar_format=tar_format)
    path = tmp_path_factory.getbasetemp() / "honest.tar.gz"
    path.write_bytes(gzip.compress(data, 1))
    with tarfile.open(path) as reference:
        expected = {info.name: reference.extractfile(info).read() for info in reference}  # type: ignore[union-attr]  # all are files
    assert read(path) == expected


SEED = tar(
    member("a", type=tarfile.DIRTYPE),
    member("a/" + "long" * 40, b"content"),
    member("b", b"x" * 700, mode=0o755),
    tar_format=tarfile.GNU_FORMAT,
) + tar(member("ü" * 90, b"1"))


@given(
    changes=st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.binary(min_size=1, max_size=12)), max_size=6),
    keep=st.integers(0, len(SEED)),
    fix_checksums=st.booleans(),
)
@settings(deadline=None, max_examples=300)
def test_a_mangled_archive_is_read_or_refused_and_nothing_else(
    changes: list[tuple[int, bytes]], keep: int, fix_checksums: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(SEED[:keep])
    for at, piece in changes:
        data[at : at + len(piece)] = piece
    if fix_checksums:
        for at in range(0, len(data) - 511, 512):
            if data[at + 257 : at + 262] == b"ustar":
                data[at + 148 : at + 156] = b" " * 8
                data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    path = tmp_path_factory.getbasetemp() / "mangled.tar.gz"
    path.write_bytes(gzip.compress(bytes(data), 1))
    try:
        check_archive(path, ArchiveLimits(unpacked_bytes=1 << 20))
    except ArchiveError as error:
        assert error.message  # noqa: PT017  # accepted is as good as refused; only other exceptions are failures


@given(data=st.binary(max_size=2000))
@settings(deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.tar.gz"
    path.write_bytes(data)
    with pytest.raises(ArchiveError):
        check_archive(path)
