import pytest

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.studio.summary import describe, list_samples


def test_the_dataset_is_described_as_the_page_needs_it(dataset):
    about = describe(dataset)
    assert about["name"] == "data"
    assert about["classes"] == [{"id": 1, "name": "forklift"}, {"id": 2, "name": "hand truck"}]
    assert about["label"] == LabelSettings().model_dump()
    assert about["exponents"] == [0, 4]
    assert len(about["palette"]) == 256


def test_every_sample_is_listed(dataset):
    listed = list_samples(dataset)
    assert listed["prompts"][1] == "a yard; hand truck forklift"
    assert listed["classes"] == [[1], [2, 1]] * 3 + [[1]]
    assert listed["scores"][5]["presence.2"] == pytest.approx(dataset[5].quality["presence.2"], abs=1e-4)
