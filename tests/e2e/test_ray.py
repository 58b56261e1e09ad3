"""A local Ray of two workers makes what one process makes, also when one is killed. One Ray serves all tests here."""

import os
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from PIL import Image
from tests.helpers.processes import files_of, refuse, run_command, succeed
from tests.helpers.tiny_captioner import save_tiny_captioner

from dataset_diffusion.config import PromptSettings, WorkerSettings
from dataset_diffusion.errors import ModelError, Skipped
from dataset_diffusion.stages.prompts import make_prompts

pytest.importorskip("ray")

NUM_SHARDS = 6
DRAWING = ("--steps", 4, "--height", 64, "--width", 64, "--batch-size", 2, "--shard-size", 2, "--device", "cpu")
ON_RAY = ("--executor", "ray")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Ray as the commands start it, kept between them."""
    from dataset_diffusion.machine.ray_pool import cluster

    with cluster(at_least=4):  # two workers of as many threads as tests have
        yield


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    file = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    succeed("prompts", "--num-images", 2 * NUM_SHARDS - 1, "--out", file)
    return file


@pytest.fixture(scope="module")
def drawn(prompts):
    """The dataset that one process draws."""
    succeed("generate", "--prompts", prompts, "--out", prompts.parent / "local", *DRAWING)
    return prompts.parent / "local"


@contextmanager
def one_worker_killed():
    """The first of this process's Ray workers that does a piece of work does not finish it."""
    killed, stopped = [], Event()

    def kill():
        while not killed and not stopped.is_set():
            time.sleep(0.005)
            killed.extend(busy_workers()[:1])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    killer = Thread(target=kill, daemon=True)
    killer.start()
    yield
    stopped.set()
    killer.join()
    assert len(killed) == 1


@contextmanager
def interrupted_when(happened):
    """Ctrl-C comes to this process once something has happened."""

    def interrupt():
        while not happened():
            if stopped.wait(0.005):
                return
        os.kill(os.getpid(), signal.SIGINT)

    stopped = Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore it
    thread = Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        signal.signal(signal.SIGINT, before)


def busy_workers():
    """Process ids of workers that are at work; Ray's daemon, their parent, is a child of this process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
            if name.startswith(b"ray::RayWorker.do") and parent_of(parent_of(int(folder.name))) == os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_dataset_drawn_in_two_parts_of_which_ray_draws_one(prompts, drawn, tmp_path):
    words = ("generate", "--prompts", prompts, "--out", tmp_path / "dataset", *DRAWING)
    with one_worker_killed():
        printed = succeed(*words, "--part", "1/2", *ON_RAY, "--num-workers", 2)
    assert printed.endswith("part 1/2 is done; 3 of 6 shards are for the other parts\n")
    succeed(*words, "--part", "2/2")
    assert files_of(tmp_path / "dataset") == files_of(drawn)


def test_ctrl_c_is_a_stop_with_ray_too(prompts, drawn, tmp_path):
    words = ("generate", "--prompts", prompts, "--out", tmp_path / "dataset", *DRAWING, *ON_RAY, "--num-workers", 2)
    shards = tmp_path / "dataset" / "shards"
    with interrupted_when(lambda: list(shards.glob("[0-9]*.parquet"))):
        stopped = run_command(*words)
    assert (stopped.status, stopped.err.splitlines()[-1]) == (130, "interrupted: the same command resumes")
    done = {file: file.stat().st_mtime_ns for file in shards.glob("[0-9]*.parquet")}
    succeed(*words)
    assert done == {file: file.stat().st_mtime_ns for file in done}
    assert files_of(tmp_path / "dataset") == files_of(drawn)


def test_a_dataset_relabelled_in_place_with_ray(drawn, tmp_path):
    labels = ("--exponent", 1, "--threshold", 0.4, "--uncertainty-threshold", 0.3, "--refine", "pamr")
    succeed("relabel", drawn, *labels, "--out", tmp_path / "local", "--num-workers", 1)
    shutil.copytree(drawn, tmp_path / "ray")
    succeed("relabel", tmp_path / "ray", *labels, *ON_RAY, "--num-workers", 2)
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "local")


def test_photos_captioned_with_ray(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny_captioner(tmp_path / "captioner")
    (tmp_path / "photos").mkdir()
    generator = np.random.default_rng(0)
    for number in range(9):
        photo = Image.fromarray(generator.integers(0, 255, (20, 30, 3), dtype=np.uint8))
        photo.save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "3.png").write_bytes(b"no picture")
    settings = PromptSettings(classes="cat,dog,bus", captions=Path("photos"), captioner="captioner", num_images=5)
    here, ray = WorkerSettings(), WorkerSettings(executor="ray", num_workers=2)
    for name, workers in (("local", here), ("ray", ray)):
        out = tmp_path / name / "p.jsonl"
        make_prompts(settings, out, seed=0, workers=workers, skip_bad=Skipped(), batch_size=2)
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "local")


def test_a_piece_that_workers_die_with_again_and_again_is_named():
    from dataset_diffusion.machine.ray_pool import work_in_ray

    def prepare(device):
        return lambda piece: device if piece != "bad" else os.kill(os.getpid(), signal.SIGKILL)

    done = []
    with pytest.raises(ModelError) as error:
        done.extend(work_in_ray(["good", "bad"], prepare, name=str.upper, num_workers=1, threads=1, most_deaths=2))
    assert str(error.value).startswith("2 workers died with BAD; got The actor died unexpectedly")
    assert str(error.value).endswith("fix: if memory ran out, fewer workers or smaller batches; what was done is kept")


def test_without_ray_it_says_how_to_get_it(prompts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "dataset_diffusion.machine.ray_pool", raising=False)
    words = ("generate", "--prompts", prompts, "--out", tmp_path / "dataset", *DRAWING, "--executor", "ray")
    assert refuse(*words).splitlines()[-1] == (
        "Ray is not installed; got --executor ray; fix: pip install 'dataset-diffusion[ray]'"
    )
