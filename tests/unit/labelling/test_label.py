import numpy as np
import pytest

from dataset_diffusion import DatasetStore, build_prompts, label
from dataset_diffusion.config import LabelOptions, LabelSettings
from dataset_diffusion.errors import PromptError
from dataset_diffusion.evaluation.readers.scenes import SCENES

pytestmark = pytest.mark.slow

BOTH = LabelSettings(exponent=0, threshold=0.4, uncertainty_threshold=0.4)


def test_a_caption_is_drawn_and_labelled(embedded):
    image, labels = label(embedded, "a cat and a bus in the snow", ["bus", "cat", "umbrella"], settings=BOTH)
    assert image.shape == (128, 128, 3)
    assert labels.shape == (128, 128)
    assert set(np.unique(labels)) <= {0, 1, 2}


def test_a_prompt_gives_what_its_parts_give(embedded):
    (prompt,) = build_prompts(["a dog by a car"], "emoji", 1)
    drawn = label(embedded, prompt, seed=3, reading="published", settings=BOTH)
    again = label(embedded, prompt, seed=3, reading=embedded.spec.resolve_reading("published"), settings=BOTH)
    assert np.array_equal(drawn.image, again.image)
    assert np.array_equal(drawn.label, again.label)


def test_a_picture_is_labelled_at_its_own_size(embedded):
    scene = DatasetStore.open(SCENES)[3]
    names = [DatasetStore.open(SCENES).class_set.name_of(one) for one in scene.prompt.classes]
    wide = np.repeat(np.repeat(scene.image, 3, axis=0), 2, axis=1)
    image, labels = label(embedded, wide, names, settings=LabelOptions(exponent=0))
    assert image is wide
    assert labels.shape == wide.shape[:2]
    found = set(np.unique(labels)) - {0, 255}
    assert found
    assert found <= set(range(1, len(names) + 1))


def test_classes_that_cannot_be_told_are_refused(embedded):
    with pytest.raises(PromptError, match=r"^no classes to label; fix: name them, as in label\(model"):
        label(embedded, "a cat")
    with pytest.raises(
        PromptError, match=r"^the caption mentions none of the classes; got 'a tree'; expected one of cat"
    ):
        label(embedded, "a tree", ["cat", "dog"])
