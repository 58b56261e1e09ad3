from pathlib import Path

import pytest

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.task import TrainingTask

CLASSES = ClassSet.from_names(["square"])
SETTINGS = TrainSettings(iterations=6, self_training=2)


def test_an_identity_is_of_its_round_and_counts_all_images(scenes):
    task = TrainingTask(scenes, CLASSES, SETTINGS, 5, real=scenes[:3], data_id="abc", round=1, device="cpu")
    described = task.identity.to_json()
    assert described["settings"] == SETTINGS.model_copy(update={"self_training": 1}).model_dump(mode="json")
    assert (described["seed"], described["num_images"], described["data_id"]) == (5, 13, "abc")


def test_where_and_how_often_it_is_saved_are_not_part_of_the_identity(scenes):
    one = TrainingTask(scenes, CLASSES, SETTINGS, 5)
    other = TrainingTask(scenes, CLASSES, SETTINGS, 5, start=Path("a"), device="cuda", checkpoint_every=1)
    assert one.identity == other.identity


@pytest.mark.parametrize(("number", "steps"), [(0, 0), (1, 6), (2, 12), (None, 12)])
def test_the_steps_of_all_rounds_are_counted(scenes, number, steps):
    task = TrainingTask(scenes, CLASSES, SETTINGS, 5, round=number)
    assert (task.earlier_steps, task.total_steps) == (steps, 18)
