from pathlib import Path

import pytest
from hypothesis import given, strategies

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.exports.job import Job, val_indices
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.prompts.class_sets import class_set


def job(num_samples, shard_size, fraction):
    manifest = DatasetManifest(class_set=class_set("voc"), num_samples=num_samples, shard_size=shard_size)
    return Job(Path("out"), ExportSettings(format="png", val_fraction=fraction), manifest)


@pytest.mark.parametrize(("fraction", "val"), [(0.0, 0), (0.1, 10), (0.25, 25), (0.333, 33), (0.999, 100)])
def test_val_holds_its_share_of_all_samples_rounded(fraction, val):
    splits = {split: list(job(100, 7, fraction).names(split)) for split in ("train", "val")}
    assert len(splits["val"]) == val
    assert sorted(splits["train"] + splits["val"]) == [f"{index:08d}" for index in range(100)]


@given(strategies.integers(0, 10**6), strategies.integers(1, 200), strategies.floats(0, 1, exclude_max=True))
def test_a_shard_gives_samples_of_its_own(start, size, fraction):
    indices = range(start, start + size)
    chosen = val_indices(indices, fraction)
    assert chosen <= set(indices)
    assert abs(len(chosen) - size * fraction) <= 1
    assert chosen == val_indices(indices, fraction)


def test_no_order_of_the_prompts_puts_a_class_into_one_split():
    """Every tenth sample of the same class, as balanced prompts have it."""
    classes = {int(name) % 10 for name in job(1000, 50, 0.1).names("val")}
    assert classes == set(range(10))
