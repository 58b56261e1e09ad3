"""A local Ray of two workers, one of which is killed, makes the dataset that one process makes."""

import os
import signal
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest
from commands import files_of, refuse, succeed

pytest.importorskip("ray")

NUM_SHARDS = 6
DRAWING = ("--steps", 4, "--height", 64, "--width", 64, "--batch-size", 2, "--shard-size", 2, "--device", "cpu")


@pytest.fixture
def prompts(tmp_path):
    succeed("prompts", "--num-images", 2 * NUM_SHARDS - 1, "--out", tmp_path / "prompts.jsonl")
    return tmp_path / "prompts.jsonl"


class Killer(Thread):
    """Kills one of this process's Ray workers when the first shard is there."""

    def __init__(self, dataset):
        super().__init__(daemon=True)
        self.dataset, self.killed, self.stopped = dataset, [], Event()

    def run(self):
        while not self.killed and not self.stopped.is_set():
            time.sleep(0.01)
            if any(self.dataset.glob("shards/*.parquet")):
                self.killed = busy_workers()[:1]
                for pid in self.killed:
                    os.kill(pid, signal.SIGKILL)


def busy_workers():
    """Process ids of the workers that are drawing; Ray's daemon, their parent, is a child of this process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
            if name.startswith(b"ray::ShardWorker.draw") and parent_of(parent_of(int(folder.name))) == os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_two_workers_one_of_them_killed_make_the_same_bytes(prompts, tmp_path):
    succeed("generate", "--prompts", prompts, "--out", tmp_path / "local", *DRAWING)
    killer = Killer(tmp_path / "ray")
    killer.start()
    ray = ("--executor", "ray", "--num-workers", 2)
    succeed("generate", "--prompts", prompts, "--out", tmp_path / "ray", *DRAWING, *ray)
    killer.stopped.set()
    killer.join()
    assert len(killer.killed) == 1
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "local")


def test_without_ray_it_says_how_to_get_it(prompts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "dataset_diffusion.runtime.ray_executor", raising=False)
    words = ("generate", "--prompts", prompts, "--out", tmp_path / "dataset", *DRAWING, "--executor", "ray")
    assert refuse(*words).splitlines()[-1] == (
        "Ray is not installed; got --executor ray; fix: pip install 'dataset-diffusion[ray]'"
    )
