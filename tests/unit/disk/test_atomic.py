import errno
import os
import resource

import pytest

from dataset_diffusion.disk.atomic import (
    atomic_write,
    explained_write_errors,
    find_leftovers,
    read_json,
    remove_files,
    remove_leftovers,
    sync_file_system,
    write_json,
)
from dataset_diffusion.errors import ConfigError, DatasetError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_is_written_and_nothing_else(tmp_path):
    atomic_write(tmp_path / "a.bin", b"one")
    atomic_write(tmp_path / "a.bin", b"two")
    assert (tmp_path / "a.bin").read_bytes() == b"two"
    assert names(tmp_path) == ["a.bin"]


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path):
    atomic_write(tmp_path / "a.bin", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(DatasetError, match=r"^cannot write .*a\.bin; got File too large; fix: make room") as raised:
            atomic_write(tmp_path / "a.bin", bytes(2**21))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(raised.value)
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "a.bin", b"new")
    assert names(tmp_path) == []


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(DatasetError, match=r"^cannot write .*; got No such file or directory; fix: "):
        atomic_write(tmp_path / "missing" / "a.bin", b"new")


def test_leftovers_of_this_file_alone_are_removed(tmp_path):
    for name in ("a.bin", ".a.bin.0f0f.tmp", ".a.bin.1234.tmp", ".b.bin.0f0f.tmp", "a.tmp"):
        (tmp_path / name).write_bytes(b"half")
    remove_leftovers(tmp_path / "a.bin")
    assert names(tmp_path) == [".b.bin.0f0f.tmp", "a.bin", "a.tmp"]


def test_json_is_rid_of_what_killed_writers_of_it_left(tmp_path):
    for name in (".a.json.0f0f.tmp", ".b.json.0f0f.tmp"):
        (tmp_path / name).write_bytes(b"half")
    write_json(tmp_path / "a.json", {"a": 1})
    assert names(tmp_path) == [".b.json.0f0f.tmp", "a.json"]


def test_leftovers_are_found_by_the_file_they_were_to_become(tmp_path):
    for name in ("a.b.bin", ".a.b.bin.0f0f.tmp", ".a.b.bin.1234.tmp", ".c.bin.0f0f.tmp", "d.tmp", ".e.bin", ".f.tmp"):
        (tmp_path / name).write_bytes(b"half")
    found = find_leftovers(tmp_path)
    assert {path.name: sorted(left.name for left in lefts) for path, lefts in found.items()} == {
        "a.b.bin": [".a.b.bin.0f0f.tmp", ".a.b.bin.1234.tmp"],
        "c.bin": [".c.bin.0f0f.tmp"],
    }
    remove_files([*found[tmp_path / "a.b.bin"], tmp_path / "gone"])
    assert names(tmp_path) == [".c.bin.0f0f.tmp", ".e.bin", ".f.tmp", "a.b.bin", "d.tmp"]


def test_a_writer_that_another_one_overtook_is_content_with_its_file(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"

    def overtake(descriptor):
        monkeypatch.undo()
        leftovers = find_leftovers(tmp_path)[path]
        atomic_write(path, b"same")
        remove_files(leftovers)

    monkeypatch.setattr(os, "fsync", overtake)
    atomic_write(path, b"same")
    assert path.read_bytes() == b"same"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b"[]", b"3"])
@pytest.mark.parametrize("error", [ConfigError, DatasetError])
def test_what_is_no_json_is_the_kind_of_error_asked_for(tmp_path, content, error):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(error, match=r"^cannot read .*a\.json; got .*; fix: delete it$"):
        read_json(tmp_path / "a.json", fix="delete it", error=error)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(DatasetError, match=r"got .*not a regular file"):
        read_json(tmp_path / "a.json", fix="delete it")


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOSPC, "make room or choose another --out"),
        (errno.EROFS, "allow writing there or choose another --out"),
        (errno.ENOENT, "look whether the folder was renamed or removed"),
        (errno.EIO, "choose another --out"),
    ],
)
def test_the_advice_fits_the_cause(tmp_path, number, fix):
    with (
        pytest.raises(DatasetError, match=f"; got {os.strerror(number)}; fix: {fix}, then run the same command again"),
        explained_write_errors(tmp_path),
    ):
        raise OSError(number, os.strerror(number))


def test_the_name_reaches_the_disk_after_the_bytes(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def record(descriptor):
        synced.append((os.fstat(descriptor).st_ino, (tmp_path / "a.bin").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    atomic_write(tmp_path / "a.bin", b"new")
    assert synced == [((tmp_path / "a.bin").stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def test_all_of_a_file_system_is_synced(tmp_path):
    sync_file_system(tmp_path)
    with pytest.raises(OSError, match="gone"):
        sync_file_system(tmp_path / "gone")
