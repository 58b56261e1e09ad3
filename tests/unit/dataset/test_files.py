import errno
import fcntl
import os
import platform
import resource
import signal
from contextlib import ExitStack

import pytest

from dataset_diffusion.dataset.files import atomic_write, dataset_lock, find_leftovers, remove_files, remove_leftovers
from dataset_diffusion.errors import DatasetError


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


def test_leftovers_are_found_by_the_file_they_were_to_become(tmp_path):
    for name in ("a.b.bin", ".a.b.bin.0f0f.tmp", ".a.b.bin.1234.tmp", ".c.bin.0f0f.tmp", "d.tmp", ".e.bin"):
        (tmp_path / name).write_bytes(b"half")
    found = find_leftovers(tmp_path)
    assert {path.name: sorted(left.name for left in lefts) for path, lefts in found.items()} == {
        "a.b.bin": [".a.b.bin.0f0f.tmp", ".a.b.bin.1234.tmp"],
        "c.bin": [".c.bin.0f0f.tmp"],
    }
    remove_files([*found[tmp_path / "a.b.bin"], tmp_path / "gone"])
    assert names(tmp_path) == [".c.bin.0f0f.tmp", ".e.bin", "a.b.bin", "d.tmp"]


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


def test_one_writer_at_a_time(tmp_path):
    folder = tmp_path / "new" / "dataset"
    with dataset_lock(folder):
        for shared in (False, True):
            with pytest.raises(DatasetError) as raised, dataset_lock(folder, shared=shared):
                pass
            assert str(raised.value) == (
                f"{folder} is being written; got process {os.getpid()} on {platform.node()} at work; "
                "expected one writer at a time; fix: wait until it has finished, or stop it"
            )
    assert names(folder) == []
    with dataset_lock(folder):
        assert names(folder) == [".lock"]


def test_shared_writers_keep_others_out_until_the_last_one_leaves(tmp_path):
    with ExitStack() as last:
        with dataset_lock(tmp_path, shared=True):
            last.enter_context(dataset_lock(tmp_path, shared=True))
        with pytest.raises(DatasetError, match="is being written"), dataset_lock(tmp_path):
            pass
    with dataset_lock(tmp_path):
        pass
    assert names(tmp_path) == []


def test_a_killed_writer_leaves_no_lock(tmp_path):
    writer = os.fork()
    if not writer:
        with dataset_lock(tmp_path):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(writer, 0)
    assert names(tmp_path) == [".lock"]
    with dataset_lock(tmp_path):
        pass
    assert names(tmp_path) == []


def test_a_file_system_without_locks_lets_everybody_write(tmp_path, monkeypatch):
    def refuse(descriptor, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with dataset_lock(tmp_path), dataset_lock(tmp_path):
        atomic_write(tmp_path / "a.bin", b"one")


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(DatasetError, match=r"^cannot write .*/file; got File exists; fix: "),
        dataset_lock(tmp_path / "file"),
    ):
        pass
