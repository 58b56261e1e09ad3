"""What says that something is finished is written after all of that has reached the disk."""

import pytest
from tests.helpers.disks import Disk
from tests.helpers.factories import make_heatmaps, make_sample, write_dataset
from tests.helpers.processes import succeed

from dataset_diffusion.dataset.exports.table import EXPORTS
from dataset_diffusion.run_folder import CHECKPOINT, DESCRIPTION

NUM_SAMPLES, SHARD_SIZE = 5, 2


@pytest.fixture
def dataset(tmp_path):
    scores = {"uncertain": 0.1}

    def sample(index):
        return make_sample(index, size=(16, 16), heatmaps=make_heatmaps(index), quality=scores)

    return write_dataset(tmp_path / "dataset", sample, num_samples=NUM_SAMPLES, shard_size=SHARD_SIZE).path


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_on_the_disk_before_a_shard_or_the_card_says_so(name, dataset, tmp_path, monkeypatch):
    out = tmp_path / "out"
    disk = Disk(monkeypatch, out, lambda path: path.parent.name == ".unfinished" or path.name == "README.md")
    succeed("export", dataset, "--format", name, "--out", out)
    assert [path.name for path in disk.records] == ["00000.jsonl", "00001.jsonl", "00002.jsonl", "README.md"]
    assert disk.early == {}


@pytest.mark.parametrize(
    "words",
    [("filter", "--rule", "uncertain <= 1"), ("relabel", "--num-workers", "1", "--exponent", "4")],
    ids=lambda words: words[0],
)
def test_a_shard_is_on_the_disk_before_it_has_its_name(words, dataset, tmp_path, monkeypatch):
    disk = Disk(monkeypatch, tmp_path / "out", lambda path: path.suffix == ".parquet")
    succeed(words[0], dataset, "--out", tmp_path / "out", *words[1:])
    assert len(disk.records) == 3
    assert disk.early == {}


def test_relabelling_in_place_moves_what_is_on_the_disk(dataset, monkeypatch):
    disk = Disk(monkeypatch, dataset, lambda path: path.name in {".replacing", "dataset.json"})
    for path in dataset.rglob("*"):
        if path.is_file():
            disk.take_for_synced(path)
    succeed("relabel", dataset, "--num-workers", "1", "--exponent", "4", "--threshold", "0.7")
    assert [path.name for path in disk.records][-2:] == [".replacing", "dataset.json"]
    assert disk.early == {}


@pytest.mark.slow
def test_a_training_is_on_the_disk_before_a_checkpoint_or_the_description_says_so(dataset, tmp_path, monkeypatch):
    out = tmp_path / "out"
    disk = Disk(monkeypatch, out, lambda path: path.name in {CHECKPOINT, DESCRIPTION})
    succeed("train", dataset, "--out", out, "--iterations", 2, "--batch-size", 2, "--crop-size", 32, "--device", "cpu")
    assert disk.records[-1].name == DESCRIPTION
    assert disk.early == {}


def test_a_folder_that_is_recorded_before_it_is_synced_is_seen(tmp_path, monkeypatch):
    """The account itself: without it the tests above could not fail."""
    disk = Disk(monkeypatch, tmp_path, lambda path: path.name == "done")
    (tmp_path / "shard").write_text("data")
    (tmp_path / "temporary").write_text("all of it")
    (tmp_path / "temporary").replace(tmp_path / "done")
    assert disk.early == {tmp_path / "done": ["done", "shard"]}
