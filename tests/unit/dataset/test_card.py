import pytest

from dataset_diffusion.dataset.card import dataset_card
from dataset_diffusion.dataset.counts import LabelCounts
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.provenance import Provenance


def counts():
    counted = LabelCounts()
    counted.add({0: 6, 1: 2})
    counted.add({0: 4, 255: 4})
    return counted


def card(classes, **changes):
    fields = {"model": "sd15", "model_revision": "f03d", "provenance": Provenance(seed=3)}
    manifest = DatasetManifest(class_set=classes, num_samples=2, **(fields | changes))
    return dataset_card(manifest, counts(), loading="import it\n", licence="Own\nlicence", limits=("No holes.",))


def test_a_card_says_what_one_should_know(classes):
    text = card(classes)
    for line in (
        "# 2 labelled images of 2 classes",
        "| model | sd15 |",
        "| revision of its weights | f03d |",
        "| licence of the outputs | Own licence |",
        "| pixels ignored in training (id 255) | 25.0% |",
        "| 1 | forklift | 1 | 12.50% |",
        "- No holes.",
        '  "seed": 3',
        "import it",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize(("model", "attention"), [("sd15", True), (None, False)])
def test_scenes_that_no_model_drew_have_no_limits_of_a_model(classes, model, attention):
    assert ("attention" in card(classes, model=model)) is attention
