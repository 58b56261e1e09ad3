from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.rounds import LABELS, ROUNDS, train_in_rounds
from dataset_diffusion.segmentation.targets import segmenter_targets
from dataset_diffusion.segmentation.task import TrainingListener, TrainingTask
from dataset_diffusion.segmentation.train import train_segmenter

pytestmark = pytest.mark.slow

CLASSES = ClassSet.from_names(["square"])


@pytest.fixture
def settings(tiny):
    return TrainSettings(
        segmenter=tiny, iterations=6, batch_size=4, learning_rate=0.03, self_training=2, self_training_confidence=0.4
    )


@pytest.fixture
def train(scenes, settings, tmp_path):
    """Train in rounds on the scenes, on the CPU; everything can be said otherwise."""

    def run(out="model", on_step=None, on_label=None, **changes):
        arguments = {"data": scenes, "class_set": CLASSES, "settings": settings, "seed": 5, "device": "cpu"}
        listener = TrainingListener()
        listener.on_step = on_step or listener.on_step
        listener.on_label = on_label or listener.on_label
        return train_in_rounds(TrainingTask(**(arguments | changes)), tmp_path / out, listener)

    return run


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_without_rounds_it_is_one_training(train, scenes, settings, tmp_path):
    once = settings.model_copy(update={"self_training": 0})
    train(settings=once)
    train_segmenter(TrainingTask(scenes, CLASSES, once, 5, device="cpu"), tmp_path / "plain")
    assert contents(tmp_path / "model") == contents(tmp_path / "plain")


def test_a_round_trains_on_what_the_last_one_says(train, scenes, settings, tmp_path):
    train()
    teacher = load_segmenter(tmp_path / "model" / ROUNDS / "0", "cpu").model
    labels = segmenter_targets(teacher, scenes, settings, settings.batch_size)
    said = [(image, label) for (image, _), label in zip(scenes, labels, strict=True)]
    settings = settings.model_copy(update={"self_training": 1})
    start = tmp_path / "model" / ROUNDS / "0"
    train_segmenter(TrainingTask(said, CLASSES, settings, 5, start=start, device="cpu"), tmp_path / "by hand")
    by_hand, second = contents(tmp_path / "by hand"), contents(tmp_path / "model" / ROUNDS / "1")
    assert by_hand.items() <= second.items()
    assert len({contents(tmp_path / "model" / ROUNDS / name)[path] for name in "01" for path in by_hand}) == 6


def test_the_published_way_begins_with_new_weights_and_takes_every_pixel(train, scenes, settings, tmp_path):
    settings = settings.model_copy(update={"self_training": 1, "self_training_method": "published"})
    train(settings=settings)
    teacher = load_segmenter(tmp_path / "model" / ROUNDS / "0", "cpu").model
    images = torch.stack([image for image, _ in scenes]) / 255
    with torch.inference_mode():
        said = list(zip((image for image, _ in scenes), teacher(images).argmax(dim=1), strict=True))
    train_segmenter(TrainingTask(said, CLASSES, settings, 5, device="cpu"), tmp_path / "by hand")
    weights = [load_segmenter(tmp_path / name, "cpu").model.state_dict() for name in ("model", "by hand")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("stop", [3, 17])
def test_stopped_in_any_round_it_ends_with_the_same_bytes(train, stop):
    whole = contents(train("whole", checkpoint_every=2))

    def interrupt(step, total, loss):
        assert total == 18
        if step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("stopped", checkpoint_every=2, on_step=interrupt)
    steps = []
    stopped = contents(train("stopped", checkpoint_every=2, on_step=lambda step, *_: steps.append(step)))
    assert stopped == whole
    assert steps == list(range(stop, 19))


def test_stopped_while_labelling(train):
    whole = contents(train("whole"))

    def interrupt(images, total):
        assert total == 10
        if images == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("stopped", on_label=interrupt)
    assert contents(train("stopped")) == whole


def test_a_finished_model_needs_no_earlier_round(train, tmp_path):
    before = contents(train())
    for path in sorted((tmp_path / "model" / ROUNDS).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert contents(train()).items() <= before.items()
    assert not list((tmp_path / "model" / ROUNDS).iterdir())


def test_a_model_of_other_rounds_is_refused(train, settings):
    train()
    with pytest.raises(ConfigError, match=r"got self_training: 3 \(here: 2\); fix"):
        train(settings=settings.model_copy(update={"self_training": 3}))


def test_no_more_images_are_labelled_at_once_than_are_trained_on(train, settings, hungry):
    settings = settings.model_copy(update={"segmenter": hungry, "self_training": 1, "accumulate": 2})
    assert (train(settings=settings) / "model.json").exists()


def test_real_images_keep_their_labels(train, scenes):
    real = [(image, torch.ones(16, 16, dtype=torch.int64)) for image, _ in scenes]
    sets = [train(name, real=real) for name in ("one", "two")]
    assert contents(sets[0]) == contents(sets[1])

    def share(folder):
        segmenter, sure = load_segmenter(folder, "cpu").model, TrainSettings(self_training_confidence=0.0)
        return np.mean([(label == 1).numpy() for label in segmenter_targets(segmenter, scenes, sure)])

    assert share(sets[0]) > share(train())


def test_a_damaged_label_file(train, tmp_path, settings):
    train(settings=settings.model_copy(update={"self_training": 1}), out="x")
    (tmp_path / "x" / "model.json").unlink()
    (tmp_path / "x" / ROUNDS / "0" / LABELS).write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"cannot read .*labels\.parquet; got Arrow.*; fix: delete it") as error:
        train(settings=settings.model_copy(update={"self_training": 1}), out="x")
    assert "\n" not in str(error.value)


class ReadScenes(list):
    """Scenes whose reading is sure of the true labels, and says nothing of the border."""

    def classes_of(self, index):
        return (1,)

    def attention(self, index):
        label = self[index][1]
        return torch.where(label == 255, 0.5, torch.stack([label == 0, label == 1]).float())


def test_weighed_pixels_are_those_of_the_attention_and_then_of_the_segmenter(train, scenes, settings, tmp_path):
    settings = settings.model_copy(update={"weigh_pixels": True, "self_training": 1, "self_training_attention": 0.5})
    folder, data = train(data=ReadScenes(scenes), settings=settings), ReadScenes(scenes)
    assert pq.read_table(folder / ROUNDS / LABELS).column_names == ["label", "weight"]
    first = [(image, torch.stack([label % 255, (label != 255) * 255])) for image, label in scenes]
    once = settings.model_copy(update={"self_training": 0})
    train_segmenter(TrainingTask(first, CLASSES, once, 5, device="cpu"), tmp_path / "by hand")
    by_hand, rounds = contents(tmp_path / "by hand"), contents(folder / ROUNDS / "0")
    assert {name: rounds[name] for name in by_hand} == by_hand
    again = train(out="again", data=data, settings=settings)
    assert contents(again) == contents(folder)


def test_forgiving_losses_train_otherwise_and_without_the_options_nothing_changes(train, settings):
    plain = contents(train())
    forgiving = contents(train(out="forgiving", settings=settings.model_copy(update={"robustness": 0.7})))
    strong = contents(train(out="strong", settings=settings.model_copy(update={"augmentation": "strong"})))
    assert len({one[Path("model.safetensors")] for one in (plain, forgiving, strong)}) == 3
