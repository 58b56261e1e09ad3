import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.helpers.own_segmenter import Own

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.run_folder import CHECKPOINT, DESCRIPTION, WEIGHTS
from dataset_diffusion.segmentation.model_folder import Identity, ModelFolder, load_segmenter, save_segmenter
from dataset_diffusion.segmentation.models import build_segmenter


@pytest.fixture
def saved(tiny, tmp_path):
    identity = Identity(ClassSet.from_names(["cat", "dog"]), TrainSettings(segmenter=tiny), 1, 2, "data")
    segmenter = build_segmenter(tiny, 3)
    save_segmenter(segmenter, identity, tmp_path)
    return segmenter, tmp_path


def test_the_weights_survive(saved):
    segmenter, folder = saved
    loaded = load_segmenter(folder, device="cpu")
    assert not loaded.model.training
    assert loaded.class_set == ClassSet.from_names(["cat", "dog"])
    assert loaded.model.num_classes == 3
    for name, weight in segmenter.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight)


def test_an_opened_folder_reads_its_weights_when_they_are_asked_for(saved):
    segmenter, folder = saved
    opened = ModelFolder.open(folder)
    assert (opened.path, opened.class_set.names, opened.settings.segmenter) == (folder, ("cat", "dog"), segmenter.name)
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).unlink()
    assert ModelFolder.open(folder) == opened
    with pytest.raises(ModelError, match="cannot load the segmenter"):
        opened.load("cpu")
    (folder / WEIGHTS).write_bytes(weights)
    assert opened.load("cpu").model.name == segmenter.name


def test_a_model_of_version_0_1_0_is_what_it_was():
    file = Path(__file__).parents[2] / "data" / "model-0.1.0.json"
    description = json.loads(file.read_text())
    settings = TrainSettings(iterations=20, batch_size=4, self_training=1)
    identity = Identity(class_set("emoji"), settings, 3, 24, "beb10f05f0913c69")
    identity.check(description, Path("model"))
    with pytest.raises(ConfigError, match=r"^model holds a segmenter .* got iterations: 21 \(here: 20\); fix: choose"):
        replace(identity, settings=settings.model_copy(update={"iterations": 21})).check(description, Path("model"))


def test_nothing_there(tmp_path):
    with pytest.raises(ModelError, match=r"not a trained segmenter; got .* without a model\.json") as error:
        load_segmenter(tmp_path)
    assert "\n" not in str(error.value)


def test_unfinished(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"")
    with pytest.raises(ModelError, match="fix: run the same train command again to finish it"):
        load_segmenter(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '"model"'])
def test_a_description_that_is_none(saved, text):
    (saved[1] / DESCRIPTION).write_text(text)
    with pytest.raises(ModelError, match="not a segmenter's description") as error:
        load_segmenter(saved[1])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [{"class_set": 3}, {"class_set": {"name": 1}}, {"settings": []}, {"settings": "a"}])
def test_a_description_of_values_of_another_kind(saved, change):
    description = json.loads((saved[1] / DESCRIPTION).read_text())
    (saved[1] / DESCRIPTION).write_text(json.dumps(description | change))
    with pytest.raises(ModelError, match="cannot load the segmenter in "):
        load_segmenter(saved[1])


def test_weights_that_do_not_fit(saved):
    description = json.loads((saved[1] / DESCRIPTION).read_text())
    description["class_set"] = ClassSet.from_names(["cat", "dog", "bus"]).to_json()
    (saved[1] / DESCRIPTION).write_text(json.dumps(description))
    with pytest.raises(ModelError, match=r"cannot load the segmenter in .* RuntimeError.*train it again") as error:
        load_segmenter(saved[1])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", [b"", b"not safetensors"])
def test_damaged_weights(saved, damage):
    (saved[1] / WEIGHTS).write_bytes(damage)
    with pytest.raises(ModelError, match="cannot load the segmenter"):
        load_segmenter(saved[1])


def test_missing_settings(saved):
    (saved[1] / DESCRIPTION).write_text("{}")
    with pytest.raises(ModelError, match="cannot load the segmenter"):
        load_segmenter(saved[1])


def test_no_such_device(saved):
    with pytest.raises(ConfigError, match="no such device here"):
        load_segmenter(saved[1], device="abacus")


def test_a_network_of_the_users_own_is_imported_again(tmp_path):
    settings = TrainSettings(segmenter=Own)
    segmenter = build_segmenter(settings.segmenter, 2)
    save_segmenter(segmenter, Identity(ClassSet.from_names(["cat"]), settings, 1, 2, "data"), tmp_path)
    loaded = load_segmenter(tmp_path, device="cpu").model
    assert isinstance(loaded.network, Own)
    assert torch.equal(loaded.network.last.weight, segmenter.network.last.weight)
    description = (tmp_path / DESCRIPTION).read_text()
    (tmp_path / DESCRIPTION).write_text(description.replace("tests.helpers.own_segmenter", "gone"))
    with pytest.raises(ModelError, match=r"^the segmenter's module is not here; got gone:Own; .* fix: P"):
        load_segmenter(tmp_path)
