import numpy as np
import pytest

from dataset_diffusion.dataset.filtering.image_text import load_image_text
from dataset_diffusion.dataset.filtering.select import Selection


def test_each_sample_is_dropped_by_the_first_rule_it_breaks(store_of, select):
    store = store_of(
        [
            {"uncertain": 0.1, "foreground": 0.5},
            {"uncertain": 0.6, "foreground": 0.0},
            {"uncertain": 0.2, "foreground": 0.0},
            {"uncertain": 0.3, "foreground": 0.9},
            {"uncertain": 0.7, "foreground": 0.9},
        ]
    )
    selection = select(store, "uncertain < 0.5", "foreground > 0")
    assert selection == Selection(kept=(0, 3), dropped=(2, 1))


def test_a_rule_about_classes_holds_for_all_of_them(store_of, select):
    store = store_of([{"area.1": 0.2, "area.2": 0.3}, {"area.1": 0.2, "area.2": 0.0}, {"area.1": 0.0, "area.2": 0.3}])
    assert select(store, "area > 0").kept == (0,)


def test_an_image_that_was_dropped_makes_no_other_a_duplicate(store_of, select, smooth_image):
    image = smooth_image(0)
    store = store_of([{"uncertain": 0.9}, {"uncertain": 0.1}], images=[image, image])
    assert select(store, "novelty >= 6", "uncertain < 0.5").kept == (1,)


@pytest.mark.slow
def test_scores_of_a_model_are_judged_with_those_that_are_stored(store_of, select, smooth_image, clip):
    images = [smooth_image(seed) for seed in range(3)]
    scores = load_image_text(str(clip)).score(images, ["a yard"] * 3)
    images = [images[index] for index in np.argsort(-scores)]
    _, middle, high = np.sort(scores)
    assert high > middle > np.min(scores) + 1e-3
    store = store_of([{"uncertain": 0.1}, {"uncertain": 0.9}, {"uncertain": 0.1}], images)
    selection = select(store, "uncertain < 0.5", f"image_text >= {middle - 1e-4:.6f}", image_text=str(clip))
    assert selection == Selection(kept=(0,), dropped=(1, 1))
