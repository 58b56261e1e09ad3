import signal
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.helpers import factories
from tests.helpers.processes import Command, files_of, last_line, refuse, succeed, times_of

from dataset_diffusion.config import LabelSettings, WorkerSettings
from dataset_diffusion.dataset.decisions import Decision, Decisions, load_decisions, pictures_hash
from dataset_diffusion.dataset.provenance import Provenance
from dataset_diffusion.dataset.schema import as_stored, with_columns
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.labelling.sample import label_generation
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.records import AttentionMaps, Generation, Prompt
from dataset_diffusion.stages.relabel import relabel_dataset

pytestmark = pytest.mark.slow

CLASSES = class_set("emoji")
OLD = LabelSettings()
ONE = WorkerSettings(num_workers=1)
NEW = LabelSettings(exponent=1, threshold=0.45, uncertainty_threshold=0.3, refine="pamr")
NEW_OPTIONS = ("--exponent", 1, "--threshold", 0.45, "--uncertainty-threshold", 0.3, "--refine", "pamr")


def draw(index):
    """An image of two smooth halves, and attention as random as it gets."""
    random = np.random.default_rng(index)
    image = np.repeat(random.integers(0, 256, (24, 2, 3), dtype=np.uint8), 14, axis=1)
    self_attention = torch.from_numpy(random.random((48, 48), np.float32))
    attention = AttentionMaps(
        torch.from_numpy(random.random((2, 3, 4), np.float32)),
        self_attention / self_attention.sum(1, keepdim=True),
        (6, 8),
    )
    return Generation(image, attention)


def write_dataset(path, settings, num_samples=11, image_format="jpeg"):
    """What drawing writes, from attention that no model had to pay."""

    def make_sample(index):
        prompt, generation = Prompt(index, "cat dog", "cat dog", (5, 6)), draw(index)
        return label_generation(prompt, index, generation, settings, as_stored(generation.image, image_format))

    fields = {"num_samples": num_samples, "shard_size": 5, "image_format": image_format}
    return factories.write_dataset(path, make_sample, CLASSES, provenance=Provenance(seed=0, label=settings), **fields)


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
@pytest.mark.parametrize("in_place", [True, False])
def test_the_bytes_are_those_that_drawing_with_the_new_settings_gives(tmp_path, image_format, in_place):
    write_dataset(tmp_path / "old", OLD, image_format=image_format)
    write_dataset(tmp_path / "drawn", NEW, image_format=image_format)
    before = files_of(tmp_path / "old")
    out = None if in_place else tmp_path / "new"
    store = relabel_dataset(tmp_path / "old", NEW, out, workers=ONE)
    assert files_of(store.path) == files_of(tmp_path / "drawn") != before
    assert store.verify() == []
    if not in_place:
        assert files_of(tmp_path / "old") == before


def test_worker_processes_write_the_same_bytes(tmp_path):
    write_dataset(tmp_path / "old", OLD)
    one = relabel_dataset(tmp_path / "old", NEW, tmp_path / "one", workers=ONE)
    two = relabel_dataset(tmp_path / "old", NEW, tmp_path / "two", workers=WorkerSettings(num_workers=2))
    assert files_of(one.path) == files_of(two.path)


def test_decisions_label_all_samples_and_single_ones(tmp_path):
    old = write_dataset(tmp_path / "old", OLD)
    own = LabelSettings(exponent=2, threshold=0.8, uncertainty_threshold=0.7)
    decided = {"00000003": Decision(label=own), "00000004": Decision(keep=False)}
    decisions = Decisions(pictures=pictures_hash(old.manifest), label=NEW, samples=decided)
    decisions.save(tmp_path / "decisions.json")
    words = ("relabel", tmp_path / "old", "--out", tmp_path / "new", "--num-workers", 1)
    succeed(*words, "--decisions", tmp_path / "decisions.json")
    all_new = write_dataset(tmp_path / "all", NEW)
    with_own = write_dataset(tmp_path / "own", own)
    store = DatasetStore.open(tmp_path / "new")
    for index in range(len(store)):
        expected = with_own if index == 3 else all_new
        np.testing.assert_array_equal(store.label(index), expected.label(index))
    assert (with_own.label(3) != all_new.label(3)).any()
    assert store.manifest.provenance.own_labels == {"00000003": own}
    assert load_decisions(tmp_path / "decisions.json", store.manifest) == decisions
    before = times_of(tmp_path / "new")
    succeed(*words, "--decisions", tmp_path)
    assert times_of(tmp_path / "new") == before
    said = refuse(*words, "--decisions", tmp_path, "--threshold", 0.9)
    assert "label.threshold: 0.9 (here: 0.45)" in said


def test_decisions_are_about_the_stored_heatmaps(tmp_path):
    write_dataset(tmp_path / "old", OLD)
    said = refuse("relabel", tmp_path / "old", "--out", tmp_path / "new", "--reading", "plain", "--decisions", tmp_path)
    assert "--decisions or --reading, not both" in said


@pytest.mark.parametrize("in_place", [True, False])
def test_the_same_settings_again_write_nothing(tmp_path, in_place):
    write_dataset(tmp_path / "old", OLD)
    out = None if in_place else tmp_path / "new"
    store = relabel_dataset(tmp_path / "old", NEW, out, workers=ONE)
    times = times_of(store.path)
    relabel_dataset(tmp_path / "old", NEW, out, workers=ONE)
    assert times_of(store.path) == times


def test_the_dataset_itself_as_out_is_relabelled_in_place(tmp_path):
    write_dataset(tmp_path / "old", OLD)
    store = relabel_dataset(tmp_path / "old", NEW, tmp_path / "old" / ".." / "old", workers=ONE)
    assert store.manifest.provenance.label == NEW


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("survived", range(5))
def test_a_change_of_places_that_stops_halfway_is_refused_and_finished_by_the_next_call(
    tmp_path, monkeypatch, survived
):
    old = write_dataset(tmp_path / "old", OLD)
    expected = files_of(write_dataset(tmp_path / "drawn", NEW).path)
    replace, renamed = Path.replace, []

    def stop_after_some(self, target):
        if not self.name.endswith(".tmp"):  # files being written take their names as ever
            if len(renamed) == survived:
                raise _KilledError
            renamed.append(self)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop_after_some)
        with pytest.raises(_KilledError):
            relabel_dataset(old.path, NEW, workers=ONE)
    assert len(renamed) == survived
    if survived == 0:
        assert DatasetStore.open(old.path).manifest.provenance.label == OLD
    else:
        message = (
            rf"^{old.path} is half relabelled; got a relabelling in place that was interrupted; "
            "fix: run dataset-diffusion relabel on it again$"
        )
        with pytest.raises(DatasetError, match=message):
            DatasetStore.open(old.path)
        with pytest.raises(DatasetError, match=message):
            DatasetWriter.create(old.path, old.manifest)
    # With yet other settings it finishes what was begun first, and then does what it is asked.
    relabel_dataset(old.path, NEW if survived % 2 else OLD, workers=ONE)
    relabel_dataset(old.path, NEW, workers=ONE)
    assert files_of(old.path) == expected


def test_a_killed_relabelling_leaves_the_old_dataset_and_resumes(tmp_path):
    old = write_dataset(tmp_path / "old", OLD, num_samples=30)
    before = files_of(old.path)
    command = Command("relabel", old.path, *NEW_OPTIONS, "--num-workers", 1, printed=tmp_path / "printed")
    command.wait_until(lambda: any(old.path.glob(".replacement-*/shards/00001.parquet")))
    command.send(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL
    left = files_of(old.path)
    assert {name: left[name] for name in before} == before
    assert DatasetStore.open(old.path).verify() == []
    assert succeed("relabel", old.path, *NEW_OPTIONS, "--num-workers", 1) == f"30 images relabelled in {old.path}\n"
    assert files_of(old.path) == files_of(write_dataset(tmp_path / "drawn", NEW, num_samples=30).path)


def test_a_replacement_begun_with_other_settings_is_thrown_away(tmp_path):
    old = write_dataset(tmp_path / "old", OLD)
    stale = old.path / ".replacement-0123456789abcdef"
    stale.mkdir()
    (stale / "shards").mkdir()
    relabel_dataset(old.path, NEW, workers=ONE)
    assert files_of(old.path) == files_of(write_dataset(tmp_path / "drawn", NEW).path)
    assert not stale.exists()


def test_an_exponent_that_is_not_stored_is_refused(tmp_path):
    store = write_dataset(tmp_path / "old", OLD, num_samples=1)
    heatmaps = store[0].heatmaps
    few = DatasetWriter.create(tmp_path / "few", store.manifest)
    kept = type(heatmaps)((0, 4), heatmaps.values[[0, 3]], heatmaps.ranges[[0, 3]])
    few.write_shard(0, [type(store[0])(**{**vars(store[0]), "heatmaps": kept})])
    message = "no heatmaps are stored for this exponent; got 1; expected one of 0, 4"
    assert refuse("relabel", few.path, "--exponent", 1, "--out", tmp_path / "new") == message
    assert not (tmp_path / "new").exists()


def test_a_dataset_whose_labels_are_not_from_attention_is_refused(tmp_path):
    store = write_dataset(tmp_path / "old", OLD, num_samples=1)
    known = DatasetWriter.create(tmp_path / "known", store.manifest)
    known.write_shard(0, [type(store[0])(**{**vars(store[0]), "heatmaps": None})])
    assert refuse("relabel", known.path) == (
        f"there are no heatmaps to label from; got {known.path}; expected a dataset that a model drew"
    )


def test_an_unfinished_dataset_is_refused(tmp_path):
    store = write_dataset(tmp_path / "old", OLD)
    store.shard_path(1).unlink()
    assert refuse("relabel", store.path) == (
        f"the dataset is not finished; got {store.path} lacks 1 of 3 shards; fix: run the command that began it again"
    )


def test_what_is_no_dataset_is_refused_and_left_alone(tmp_path):
    assert refuse("relabel", tmp_path / "none") == (
        f"not a dataset; got {tmp_path / 'none'}; expected a folder with dataset.json"
    )
    assert list(tmp_path.iterdir()) == []


def test_less_than_one_worker_is_refused(tmp_path):
    assert refuse("relabel", tmp_path, "--num-workers", 0) == (
        "bad value of --num-workers; got 0; expected greater than or equal to 1"
    )


def test_an_address_is_for_ray(tmp_path):
    message = "bad value of --address; got auto; expected --executor ray, the only one that takes it"
    assert refuse("relabel", tmp_path, "--address", "auto") == message


def test_a_ray_cluster_that_is_not_there(tmp_path, monkeypatch):
    pytest.importorskip("dataset_diffusion.machine.ray_pool", exc_type=ConfigError)
    if subprocess.run(["pgrep", "-f", "gcs_server"], capture_output=True, check=False).returncode == 0:
        pytest.skip("a Ray cluster runs on this machine, and is found")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    old = write_dataset(tmp_path / "old", OLD, num_samples=1)
    message = last_line("relabel", old.path, *NEW_OPTIONS, "--executor", "ray", "--address", "auto")
    assert message.startswith("cannot reach the Ray cluster auto; got ")
    assert message.endswith("; fix: start it with `ray start --head`, or leave --address out to start one here")
    assert DatasetStore.open(old.path).manifest == old.manifest


def test_a_damaged_dataset_is_not_relabelled(tmp_path):
    store = write_dataset(tmp_path / "old", OLD)
    data = bytearray(store.shard_path(2).read_bytes())
    image = pq.ParquetFile(store.shard_path(2)).metadata.row_group(0).column(6)
    assert image.path_in_schema == "image.bytes"
    data[image.data_page_offset + image.total_compressed_size // 2] ^= 1
    store.shard_path(2).write_bytes(bytes(data))
    assert "00002.parquet is damaged; got " in last_line("relabel", store.path, *NEW_OPTIONS, "--num-workers", 1)
    assert DatasetStore.open(store.path).manifest.provenance.label == OLD


def test_an_image_without_its_recorded_hash_is_not_copied(tmp_path):
    store = write_dataset(tmp_path / "old", OLD, num_samples=1)
    store.write_rows(0, with_columns(store.read_table(0), {"image_sha256": ["0" * 64]}))
    assert last_line("relabel", store.path, "--out", tmp_path / "new") == (
        f"{(shard := store.shard_path(0))} is damaged; got sample 0: the image does not have its recorded SHA-256; "
        f"fix: delete {shard} and run the command that made the dataset again"
    )


def test_a_device_is_for_reading_again(tmp_path):
    assert refuse("relabel", tmp_path, "--device", "cpu") == (
        "stored heatmaps are labelled without a model; got --device cpu; fix: add --reading"
    )


def test_reading_again_takes_a_folder_and_no_workers(tmp_path):
    reading = ("relabel", tmp_path, "--reading", "plain")
    assert refuse(*reading) == "pictures that are read again make a new dataset; fix: --out with its folder"
    assert refuse(*reading, "--out", tmp_path / "new", "--num-workers", 2) == (
        "pictures are read again in this process alone; fix: leave out the options of workers"
    )
