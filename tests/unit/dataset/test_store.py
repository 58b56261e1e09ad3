"""What `tests/contract/test_store.py` does not ask of every kind of dataset."""

import numpy as np
import pytest
from tests.helpers.factories import make_sample, write_dataset

from dataset_diffusion.errors import DatasetError


def test_images_and_label_maps_are_read_alone(tmp_path):
    store = write_dataset(tmp_path, make_sample, num_samples=3, shard_size=2)
    for index in range(3):
        sample = make_sample(index)
        np.testing.assert_array_equal(store.image(index), sample.image)
        np.testing.assert_array_equal(store.label(index), sample.label)


def test_the_missing_shards_are_counted(tmp_path):
    store = write_dataset(tmp_path, make_sample, num_samples=5, shard_size=2, shards=[1])
    assert store.count(range(3)) == 5
    assert store.count(store.missing_shards()) == 3
    with pytest.raises(DatasetError, match="lacks 2 of 3 shards"):
        store.check_complete()
