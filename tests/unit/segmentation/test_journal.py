import pytest
import torch

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.run_folder import CHECKPOINT
from dataset_diffusion.segmentation.journal import resumable_step
from dataset_diffusion.segmentation.task import TrainingTask

pytestmark = pytest.mark.slow

CLASSES = ClassSet.from_names(["square"])


@pytest.fixture
def task(scenes):
    return TrainingTask(scenes, CLASSES, TrainSettings(), 5)


def save(folder, **changes):
    torch.save(changes, folder / CHECKPOINT)


def test_without_a_checkpoint_it_starts_afresh(tmp_path, task):
    assert resumable_step(tmp_path, task.identity) == 0


def test_the_step_is_that_of_the_checkpoint(tmp_path, task):
    save(tmp_path, identity=task.identity.to_json(), global_step=7)
    assert resumable_step(tmp_path, task.identity) == 7


def test_a_checkpoint_of_another_training_is_refused(tmp_path, task, scenes):
    save(tmp_path, identity=TrainingTask(scenes, CLASSES, TrainSettings(), 6).identity.to_json(), global_step=7)
    with pytest.raises(ConfigError, match=r"seed: 5 \(here: 6\)"):
        resumable_step(tmp_path, task.identity)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x80\x02}q\x00."])
def test_a_damaged_checkpoint_is_refused(tmp_path, task, content):
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(
        ModelError, match=rf"^cannot resume from .*{CHECKPOINT}; got .*; fix: delete it to start afresh"
    ):
        resumable_step(tmp_path, task.identity)


@pytest.mark.parametrize("identity", [None, [], {"class_set": 3}, {"settings": [1]}])
def test_a_checkpoint_of_nothing_known_is_refused(tmp_path, task, identity):
    save(tmp_path, identity=identity, global_step=7)
    with pytest.raises((ConfigError, ModelError), match=rf"^({tmp_path} holds |cannot resume from {tmp_path})"):
        resumable_step(tmp_path, task.identity)


def test_a_checkpoint_that_says_too_little_is_refused(tmp_path, task):
    save(tmp_path, global_step=7)
    with pytest.raises(ModelError, match=rf"^cannot resume from .*{CHECKPOINT}; got KeyError; fix: delete it to start"):
        resumable_step(tmp_path, task.identity)
