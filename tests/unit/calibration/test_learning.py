import pytest

from dataset_diffusion.calibration.learning import learn_reading
from dataset_diffusion.config import LearnSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.evaluation.readers.scenes import SCENES
from dataset_diffusion.stages.calibrate import dataset_examples

pytestmark = pytest.mark.slow

SETTINGS = LearnSettings(num_images=8, timesteps=(1,), refine="none")


@pytest.fixture(scope="module")
def examples():
    return dataset_examples(DatasetStore.open(SCENES), SETTINGS)


@pytest.fixture(scope="module")
def whole(embedded, examples):
    return learn_reading(embedded, examples, SETTINGS, seed=0)


def test_a_call_after_a_kill_looks_at_no_picture_twice(whole, examples, embedded, tmp_path, monkeypatch):
    def end(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(type(embedded), "attend", end)  # the averaging readings come last
        with pytest.raises(KeyboardInterrupt):
            learn_reading(embedded, examples, SETTINGS, seed=0, passes=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["level-1.npz"]
    with monkeypatch.context() as looked:
        looked.setattr(type(embedded), "attend_layers", end)
        assert learn_reading(embedded, examples, SETTINGS, seed=0, passes=tmp_path) == whole


def test_another_seed_learns_another_reading(whole, examples, embedded):
    assert learn_reading(embedded, examples, SETTINGS, seed=1).cross_attention != whole.cross_attention


def test_few_pictures_are_refused(examples, embedded):
    with pytest.raises(ConfigError, match="too few pictures to learn a reading from; got 7; expected at least 8"):
        learn_reading(embedded, examples[:7], SETTINGS, seed=0)
