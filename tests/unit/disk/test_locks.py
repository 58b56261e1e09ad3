import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from dataset_diffusion.disk.atomic import atomic_write
from dataset_diffusion.disk.locks import folder_lock, remove_left_lock
from dataset_diffusion.errors import DatasetError

ROOT = Path(__file__).parents[3]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_writer_at_a_time(tmp_path):
    folder = tmp_path / "new" / "dataset"
    with folder_lock(folder):
        for shared in (False, True):
            with pytest.raises(DatasetError) as raised, folder_lock(folder, shared=shared):
                pass
            assert str(raised.value) == (
                f"{folder} is being written; got process {os.getpid()} on {platform.node()} at work; "
                "expected one writer at a time; fix: wait until it has finished, or stop it"
            )
    assert names(folder) == []
    with folder_lock(folder):
        assert names(folder) == [".lock"]


def test_shared_writers_keep_others_out_until_the_last_one_leaves(tmp_path):
    with ExitStack() as last:
        with folder_lock(tmp_path, shared=True):
            last.enter_context(folder_lock(tmp_path, shared=True))
        with pytest.raises(DatasetError, match="is being written"), folder_lock(tmp_path):
            pass
    with folder_lock(tmp_path):
        pass
    assert names(tmp_path) == []


def test_a_killed_writer_leaves_no_lock(tmp_path):
    writer = os.fork()
    if not writer:
        with folder_lock(tmp_path):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(writer, 0)
    assert names(tmp_path) == [".lock"]
    with folder_lock(tmp_path):
        pass
    assert names(tmp_path) == []


def test_the_lock_of_a_killed_writer_is_removed_and_one_that_is_held_stays(tmp_path):
    with folder_lock(tmp_path):
        remove_left_lock(tmp_path)
        assert names(tmp_path) == [".lock"]
    (tmp_path / ".lock").write_bytes(b"process 1 on here")
    remove_left_lock(tmp_path)
    remove_left_lock(tmp_path)
    assert names(tmp_path) == []
    remove_left_lock(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_file_system_without_locks_lets_everybody_write(tmp_path, monkeypatch):
    def refuse(descriptor, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with folder_lock(tmp_path), folder_lock(tmp_path):
        atomic_write(tmp_path / "a.bin", b"one")


def test_without_fcntl_datasets_are_written_and_read(tmp_path):
    """As on Windows, which lacks these names: a process that has none of them."""
    program = f"""
import ctypes, os, sys
for module in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[module] = None
for name in ("sync", "pread", "O_NOFOLLOW", "O_DIRECTORY", "sched_getaffinity", "killpg", "geteuid", "fork"):
    delattr(os, name)
import dataset_diffusion.__main__
from dataset_diffusion import DatasetStore
from dataset_diffusion.disk.atomic import sync_file_system
from dataset_diffusion.disk.locks import folder_lock
from tests.helpers.factories import make_sample, write_dataset
folder = __import__("pathlib").Path({str(tmp_path)!r}) / "dataset"
with folder_lock(folder), folder_lock(folder, shared=True):
    write_dataset(folder, make_sample, num_samples=3)
sync_file_system(folder)
assert DatasetStore.open(folder).verify() == []
print([sample.label.shape for sample in DatasetStore.open(folder)])
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.stdout.splitlines()[-1:] == ["[(6, 9), (6, 9), (6, 9)]"], ended.stderr


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(DatasetError, match=r"^cannot write .*/file; got File exists; fix: "),
        folder_lock(tmp_path / "file"),
    ):
        pass


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda lock, victim: lock.symlink_to(victim), "a link"),
        (lambda lock, victim: lock.symlink_to(victim.with_name("nowhere")), "a link"),
        (lambda lock, victim: lock.hardlink_to(victim), "a file of something else"),
        (lambda lock, victim: lock.write_text("precious"), "a file of something else"),
        (lambda lock, victim: lock.mkdir(), "no file"),
        (lambda lock, victim: os.mkfifo(lock), "no file"),
    ],
    ids=["link", "dangling link", "hard link", "other content", "folder", "pipe"],
)
def test_what_is_no_lock_of_ours_is_left_as_it_is(tmp_path, make, got):
    victim, folder = tmp_path / "victim", tmp_path / "dataset"
    victim.write_text("precious")
    folder.mkdir()
    make(folder / ".lock", victim)
    with pytest.raises(DatasetError) as error, folder_lock(folder):
        pass
    assert str(error.value) == (
        f"{folder / '.lock'} is no lock of this program; got {got}; expected a file that it wrote; "
        "fix: remove or rename it"
    )
    assert names(folder) == [".lock"]
    assert names(tmp_path) == ["dataset", "victim"]
    assert victim.read_text() == "precious"
