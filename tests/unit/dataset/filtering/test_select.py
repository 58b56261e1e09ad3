from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.dataset.filtering.rules import parse_rule
from dataset_diffusion.dataset.filtering.select import Selection, perceptual_hash, select
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.errors import DatasetError


def smooth_image(seed, size=(48, 40)):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


@pytest.fixture
def store_of(tmp_path, classes, make_sample):
    """A function that writes a dataset with these scores, and with these images if given; prompts name classes 2, 1."""

    def write(scores, images=None):
        manifest = DatasetManifest(class_set=classes, num_samples=len(scores), shard_size=2)
        store = DatasetWriter.create(tmp_path / "dataset", manifest)
        samples = [replace(make_sample(index), quality=one) for index, one in enumerate(scores)]
        if images is not None:
            samples = [
                replace(sample, image=image, label=np.zeros(image.shape[:2], np.uint8))
                for sample, image in zip(samples, images, strict=True)
            ]
        for shard in range(manifest.num_shards):
            store.write_shard(shard, [samples[index] for index in store.shard_range(shard)])
        return store

    return write


def rules(*texts):
    return [parse_rule(text) for text in texts]


def test_each_sample_is_dropped_by_the_first_rule_it_breaks(store_of):
    store = store_of(
        [
            {"uncertain": 0.1, "foreground": 0.5},
            {"uncertain": 0.6, "foreground": 0.0},
            {"uncertain": 0.2, "foreground": 0.0},
            {"uncertain": 0.3, "foreground": 0.9},
            {"uncertain": 0.7, "foreground": 0.9},
        ]
    )
    counted = []
    selection = select(store, rules("uncertain < 0.5", "foreground > 0"), on_sample=lambda: counted.append(1))
    assert selection == Selection(kept=(0, 3), dropped=(2, 1))
    assert len(counted) == 5


def test_a_rule_about_classes_holds_for_all_of_them(store_of):
    store = store_of([{"area.1": 0.2, "area.2": 0.3}, {"area.1": 0.2, "area.2": 0.0}, {"area.1": 0.0, "area.2": 0.3}])
    assert select(store, rules("area > 0")).kept == (0,)


def test_presence_is_relative_to_the_median_of_the_same_class(store_of):
    # Class 1 draws little attention everywhere, median 0.1; class 2 much, median 0.5.
    found = [(0.1, 0.5), (0.1, 0.2), (0.04, 0.5), (0.1, 0.5), (0.2, 1.0)]
    store = store_of([{"presence.1": one, "presence.2": two} for one, two in found])
    assert select(store, rules("presence >= 0.45")).kept == (0, 3, 4)
    assert select(store, rules("presence >= 0.39")).kept == (0, 1, 2, 3, 4)


def test_a_class_that_never_draws_attention_divides_by_nothing(store_of):
    store = store_of([{"presence.1": 0.0, "presence.2": 0.5}] * 3)
    assert select(store, rules("presence >= 0.4")).kept == ()


def test_of_near_duplicates_the_first_is_kept(store_of):
    first, other = smooth_image(0), smooth_image(1)
    brighter = np.clip(first.astype(int) + 3, 0, 255).astype(np.uint8)
    store = store_of([{}] * 4, images=[first, other, brighter, first])
    selection = select(store, rules("novelty >= 6"))
    assert selection == Selection(kept=(0, 1), dropped=(2,))


@pytest.mark.parametrize("rule", ["novelty >= 28", "novelty > 28", "novelty <= 36", "novelty < 36"])
def test_novelty_is_the_distance_to_every_image_kept_before(store_of, rule):
    images = [smooth_image(seed) for seed in range(12)]
    kept = []
    for index, image in enumerate(images):
        if parse_rule(rule).holds([distance(image, images[before]) for before in kept]):
            kept.append(index)
    assert 1 < len(kept) < 12
    assert select(store_of([{}] * 12, images), rules(rule)).kept == tuple(kept)


def test_an_image_that_was_dropped_makes_no_other_a_duplicate(store_of):
    image = smooth_image(0)
    store = store_of([{"uncertain": 0.9}, {"uncertain": 0.1}], images=[image, image])
    assert select(store, rules("novelty >= 6", "uncertain < 0.5")).kept == (1,)


def test_scores_that_are_not_stored_are_judged_with_those_that_are(store_of):
    store = store_of([{"uncertain": 0.1}, {"uncertain": 0.9}, {"uncertain": 0.1}])
    scores = {"image_text": [0.3, 0.3, 0.1]}
    selection = select(store, rules("uncertain < 0.5", "image_text >= 0.2"), scores=scores)
    assert selection == Selection(kept=(0,), dropped=(1, 1))


def test_a_missing_score_is_told(store_of):
    with pytest.raises(DatasetError) as error:
        select(store_of([{"uncertain": 0.5}]), rules("presence >= 0.4"))
    assert str(error.value) == (
        "the dataset lacks a score that a rule asks for; got no presence.2; "
        "fix: relabel the dataset; one whose labels are not from attention has no presence"
    )


def distance(one, other):
    return float(np.bitwise_count(perceptual_hash(one) ^ perceptual_hash(other)))


def test_the_hash_sees_through_scale_and_brightness_and_tells_images_apart():
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
