import numpy as np
import pytest
from tests.helpers.label_maps import make_store

from dataset_diffusion.dataset.counts import LabelCounts, count_labels
from dataset_diffusion.errors import DatasetError

# A forklift on the left of 16 x 24 pixels, and a column of uncertain ones beside it.
LABEL = np.zeros((16, 24), np.uint8)
LABEL[:, :6], LABEL[:, 6] = 1, 255


@pytest.fixture
def store(tmp_path):
    """Five samples in three shards, whose prompts name the forklift."""
    return make_store(tmp_path / "data", [LABEL] * 5, shard_size=2)


def test_counts_are_images_and_shares_of_pixels():
    counted = LabelCounts()
    counted.add({0: 6, 1: 2})
    counted.add({0: 4, 255: 4})
    assert counted.num_images == 2
    assert [counted.labelled[label_id] for label_id in (0, 1, 2, 255)] == [2, 1, 0, 1]
    assert [counted.share(label_id) for label_id in (0, 1, 2, 255)] == [0.625, 0.125, 0.0, 0.25]
    assert LabelCounts().share(0) == 0.0


def test_counts_images_and_pixels_per_class(store):
    counts = count_labels(store)
    assert counts.num_images == 5
    assert counts.prompted[:3].tolist() == [0, 5, 0]
    assert counts.labelled[[0, 1, 2, 255]].tolist() == [5, 5, 0, 5]
    assert counts.pixels[[0, 1, 2, 255]].tolist() == [5 * 16 * 17, 5 * 16 * 6, 0, 5 * 16]
    assert counts.classes == pytest.approx(6 / 24)
    assert counts.uncertain == pytest.approx(1 / 24)


def test_counts_what_is_there(store):
    store.shard_path(1).unlink()
    assert count_labels(store).num_images == 3
    for shard in (0, 2):
        store.shard_path(shard).unlink()
    assert count_labels(store).uncertain == 0.0


def test_a_damaged_shard_is_named_with_a_fix(store):
    store.shard_path(1).write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"00001\.parquet is damaged; got .*; fix: delete ") as caught:
        count_labels(store)
    assert "\n" not in str(caught.value)
