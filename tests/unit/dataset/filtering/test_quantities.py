import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.processes import succeed

from dataset_diffusion.dataset.filtering.quantities import QUANTITIES, perceptual_hash
from dataset_diffusion.dataset.filtering.rules import parse_rule
from dataset_diffusion.dataset.filtering.select import Selection
from dataset_diffusion.errors import DatasetError

DOCUMENTATION = Path(__file__).parents[4] / "docs" / "filtering.md"


def test_the_documentation_has_the_table():
    rows = [
        f"| `{name}` | {'of each class: ' if quantity.of_each_class else ''}{quantity.description} |"
        for name, quantity in QUANTITIES.items()
    ]
    assert "\n".join(rows) in DOCUMENTATION.read_text(encoding="utf-8")


def test_the_command_names_every_quantity():
    words = set(re.findall(r"\w+", succeed("filter", "--help")))
    assert words.issuperset(QUANTITIES)


def test_presence_is_relative_to_the_median_of_the_same_class(store_of, select):
    # Class 1 draws little attention everywhere, median 0.1; class 2 much, median 0.5.
    found = [(0.1, 0.5), (0.1, 0.2), (0.04, 0.5), (0.1, 0.5), (0.2, 1.0)]
    store = store_of([{"presence.1": one, "presence.2": two} for one, two in found])
    assert select(store, "presence >= 0.45").kept == (0, 3, 4)
    assert select(store, "presence >= 0.39").kept == (0, 1, 2, 3, 4)


def test_a_class_that_never_draws_attention_divides_by_nothing(store_of, select):
    store = store_of([{"presence.1": 0.0, "presence.2": 0.5}] * 3)
    assert select(store, "presence >= 0.4").kept == ()


def test_of_near_duplicates_the_first_is_kept(store_of, select, smooth_image):
    first, other = smooth_image(0), smooth_image(1)
    brighter = np.clip(first.astype(int) + 3, 0, 255).astype(np.uint8)
    store = store_of([{}] * 4, images=[first, other, brighter, first])
    selection = select(store, "novelty >= 6")
    assert selection == Selection(kept=(0, 1), dropped=(2,))


@pytest.mark.parametrize("rule", ["novelty >= 28", "novelty > 28", "novelty <= 36", "novelty < 36"])
def test_novelty_is_the_distance_to_every_image_kept_before(store_of, select, smooth_image, rule):
    images = [smooth_image(seed) for seed in range(12)]
    kept = []
    for index, image in enumerate(images):
        if parse_rule(rule).holds([distance(image, images[before]) for before in kept]):
            kept.append(index)
    assert 1 < len(kept) < 12
    assert select(store_of([{}] * 12, images), rule).kept == tuple(kept)


def test_a_missing_score_is_told(store_of, select):
    with pytest.raises(DatasetError) as error:
        select(store_of([{"uncertain": 0.5}]), "presence >= 0.4")
    assert str(error.value) == (
        "the dataset lacks a score that a rule asks for; got no presence.2; "
        "fix: relabel the dataset; one whose labels are not from attention has no presence"
    )


def distance(one, other):
    return float(np.bitwise_count(perceptual_hash(one) ^ perceptual_hash(other)))


def test_the_hash_sees_through_scale_and_brightness_and_tells_images_apart(smooth_image):
    image = smooth_image(0)
    small = np.asarray(Image.fromarray(image).resize((36, 30)))
    assert distance(image, small) <= 4
    assert distance(image, (image * 0.9).astype(np.uint8)) <= 4
    assert min(distance(image, smooth_image(seed)) for seed in range(1, 9)) >= 12


def test_the_hash_is_the_signs_of_the_lowest_frequencies():
    # Every row rises from dark to bright: of the 64 frequencies the mean and the odd ones of the first row stand out,
    # and the cosine of a rising ramp is negative. The median of the 64 is 0 up to rounding.
    ramp = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], 32, axis=0).repeat(3, axis=2)
    bits = np.unpackbits(np.array([perceptual_hash(ramp)]).view(np.uint8)).reshape(8, 8)
    assert bits[0, 0] == 1
    assert bits[0, 1] == bits[0, 3] == 0
