"""A dataset may lie: every command that reads one refuses it with a line that says where, and none passes it on."""

import io
import json
import os

import pytest
from PIL import Image
from tests.helpers.factories import FORKLIFTS, make_heatmaps, make_sample
from tests.helpers.processes import last_line, succeed

from dataset_diffusion.config import CalibrateSettings
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.schema import encode_sample, sha256, shard_bytes
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.stages.calibrate import dataset_examples

NUM_SAMPLES, SHARD_SIZE = 6, 3


def sample(index):
    scores = {"uncertain": 0.1, "foreground": 0.5, "presence": 0.5, "presence.1": 0.5}
    return make_sample(index, size=(16, 16), heatmaps=make_heatmaps(index), quality=scores)


def rows():
    return [encode_sample(sample(index), FORKLIFTS) for index in range(NUM_SAMPLES)]


def write(folder, changed):
    """A dataset of rows as they are, whatever they hold."""
    (folder / "shards").mkdir(parents=True)
    DatasetManifest(class_set=FORKLIFTS, num_samples=NUM_SAMPLES, shard_size=SHARD_SIZE).save(folder)
    for shard in range(NUM_SAMPLES // SHARD_SIZE):
        part = changed[shard * SHARD_SIZE : (shard + 1) * SHARD_SIZE]
        (folder / "shards" / f"{shard:05d}.parquet").write_bytes(shard_bytes(part))
    return folder


def picture(pixels, name="label"):
    """A picture of a row with its right hash."""
    buffer = io.BytesIO()
    pixels.save(buffer, "png")
    data = buffer.getvalue()
    return {name: {"bytes": data, "path": "00000004.png"}, f"{name}_sha256": sha256(data)}


def grey(value, size=(16, 16)):
    return Image.new("L", size, value)


READERS = {
    "report": ("report", "DATASET"),
    "export png": ("export", "DATASET", "--format", "png", "--out", "OUT"),
    "export coco": ("export", "DATASET", "--format", "coco", "--out", "OUT"),
    "export huggingface": ("export", "DATASET", "--format", "huggingface", "--out", "OUT"),
    "filter": ("filter", "DATASET", "--rule", "presence >= 0.1", "--rule", "novelty >= 0", "--out", "OUT"),
    "relabel": ("relabel", "DATASET", "--out", "OUT", "--num-workers", "1", "--refine", "pamr"),
    "train": ("train", "DATASET", "--out", "OUT", "--iterations", "1", "--batch-size", "6", "--device", "cpu"),
}

DAMAGES = {
    "class of 2^31": ({"classes": [2**31 - 1]}, "prompt class ids outside the class set: 2147483647"),
    "negative class": ({"classes": [-1]}, "prompt class ids outside the class set: -1"),
    "empty class": ({"classes": [None]}, "empty values in classes"),
    "no classes": ({"classes": None}, "empty values in classes"),
    "no image": ({"image": None}, "empty values in image"),
    "no bytes": ({"label": {"bytes": None, "path": "00000004.png"}}, "empty values in label"),
    "no scores": ({"quality": None}, "empty values in quality"),
    "empty score": ({"quality": [{"name": "uncertain", "value": None}]}, "empty values in quality"),
    "another index": ({"index": 0}, "index 0, expected 4"),
    "label ids": (picture(grey(7)), "label ids outside the class set: 7"),
    "label of another size": (picture(grey(1, (8, 16))), "the image is 16 x 16 but its label is 16 x 8"),
    "a bomb": (picture(grey(1, (13000, 13000))), "13000"),
    "another label": ({"label_sha256": "0" * 64}, "the label does not have its recorded SHA-256"),
}


UNREAD = {
    # What a command does not look at; `verify` looks at everything.
    "class of 2^31": {"train"},
    "negative class": {"train"},
    "empty class": {"train"},
    "no classes": {"train"},
    "no scores": {"train", "export png", "export coco", "export huggingface"},
    "empty score": {"train", "export png", "export coco", "export huggingface"},
    "label ids": {"filter", "relabel"},
    "label of another size": {"filter", "relabel"},
    "a bomb": {"filter", "relabel"},
    "another label": {"train"},
}


def line(name, dataset, out):
    return [{"DATASET": dataset, "OUT": out}.get(word, word) for word in READERS[name]]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_no_command_reads_a_damaged_row(damage, tmp_path):
    change, message = DAMAGES[damage]
    changed = rows()
    changed[4] |= change
    dataset = write(tmp_path / "dataset", changed)
    [problem] = DatasetStore.open(dataset).verify()
    assert message in problem
    for name in READERS.keys() - UNREAD.get(damage, set()):
        refused = last_line(*line(name, dataset, tmp_path / name))
        assert message in refused, name
        assert "00001.parquet is damaged; got " in refused, name


@pytest.mark.slow
def test_what_filter_does_not_look_at_stays_to_be_seen(tmp_path):
    changed = rows()
    changed[4] |= picture(grey(7))
    succeed(*line("filter", write(tmp_path / "dataset", changed), tmp_path / "out"))
    [problem] = DatasetStore.open(tmp_path / "out").verify()
    assert "label ids outside the class set: 7" in problem


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_swapped_and_doubled_shards_are_refused(name, tmp_path):
    dataset = write(tmp_path / "dataset", rows())
    first, second = (dataset / "shards" / f"0000{shard}.parquet" for shard in (0, 1))
    whole = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert "index 3, expected 0" in last_line(*line(name, dataset, tmp_path / "doubled"))
    second.write_bytes(whole)
    assert "index 3, expected 0" in last_line(*line(name, dataset, tmp_path / "swapped"))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("place", ["shards/00001.parquet", "dataset.json"])
def test_a_pipe_is_no_file(name, place, tmp_path):
    """Whoever opens one to read waits until somebody writes."""
    dataset = write(tmp_path / "dataset", rows())
    (dataset / place).unlink()
    os.mkfifo(dataset / place)
    assert "regular file" in last_line(*line(name, dataset, tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*READERS, "verify", "evaluate"])
@pytest.mark.parametrize("claimed", [10**7, 10**12, 2**63 - 1])
def test_samples_that_are_claimed_cost_nothing(name, claimed, tmp_path):
    """A command that counts them one by one is stopped by the size of what it may keep in memory."""
    dataset = write(tmp_path / "dataset", rows())
    manifest = json.loads((dataset / "dataset.json").read_text()) | {"num_samples": claimed}
    (dataset / "dataset.json").write_text(json.dumps(manifest))
    words = {
        "verify": ("verify", dataset),
        "evaluate": ("evaluate", "--predictions", dataset / "shards", "--benchmark", dataset),
    }
    if name == "report" and claimed <= 10**12:
        succeed("report", dataset)  # of the samples that are there
        return
    refused = last_line(*words.get(name) or line(name, dataset, tmp_path / "out"))
    assert "not finished" in refused or "is not whole" in refused or "num_samples" in refused


def test_calibration_refuses_what_verify_refuses(tmp_path):
    changed = rows()
    changed[4] |= picture(grey(7))
    store = DatasetStore.open(write(tmp_path, changed))
    with pytest.raises(DatasetError, match=r"00001\.parquet is damaged; got sample 4: label ids outside"):
        dataset_examples(store, CalibrateSettings(num_images=8))
