import pytest

from dataset_diffusion.dataset.counts import count_labels
from dataset_diffusion.errors import DatasetError


def test_counts_images_and_pixels_per_class(tmp_path, make_dataset):
    counts = count_labels(make_dataset(tmp_path / "data"))
    assert counts.num_images == 5
    assert counts.prompted[:3].tolist() == [0, 5, 0]
    assert counts.labelled[[0, 1, 2, 255]].tolist() == [5, 5, 0, 5]
    assert counts.pixels[[0, 1, 2, 255]].tolist() == [5 * 16 * 17, 5 * 16 * 6, 0, 5 * 16]
    assert counts.classes == pytest.approx(6 / 24)
    assert counts.uncertain == pytest.approx(1 / 24)


def test_counts_what_is_there(tmp_path, make_dataset):
    assert count_labels(make_dataset(tmp_path / "data", shards=[0, 2])).num_images == 3
    assert count_labels(make_dataset(tmp_path / "none", shards=[])).uncertain == 0.0


def test_a_damaged_shard_is_named_with_a_fix(tmp_path, make_dataset):
    store = make_dataset(tmp_path / "data")
    store.shard_path(1).write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"00001\.parquet is damaged; got .*; fix: delete ") as caught:
        count_labels(store)
    assert "\n" not in str(caught.value)
