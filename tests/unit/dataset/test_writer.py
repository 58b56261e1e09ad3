import pytest
from tests.helpers.factories import FORKLIFTS, fill, make_sample, write_dataset

from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.errors import DatasetError

MANIFEST = DatasetManifest(class_set=FORKLIFTS, num_samples=3, shard_size=2)


def test_a_dataset_is_begun_without_shards_and_gone_on_with(tmp_path):
    assert DatasetWriter.create(tmp_path, MANIFEST).missing_shards() == [0, 1]
    fill(DatasetWriter.create(tmp_path, MANIFEST), make_sample, [1])
    assert DatasetWriter.create(tmp_path, MANIFEST).missing_shards() == [0]


def test_another_dataset_is_not_gone_on_with(tmp_path):
    write_dataset(tmp_path, make_sample, num_samples=3, shard_size=2)
    with pytest.raises(DatasetError, match=r"num_samples: 4 \(here: 3\)"):
        DatasetWriter.create(tmp_path, MANIFEST.model_copy(update={"num_samples": 4}))
