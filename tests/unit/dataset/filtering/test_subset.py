import pytest
from tests.helpers import factories
from tests.helpers.factories import FORKLIFTS, write_dataset

from dataset_diffusion.dataset.filtering.subset import write_subset
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.writer import DatasetWriter


@pytest.mark.parametrize("kept", [[1, 2, 6], [0, 1, 2, 3, 4, 5, 6], [6]])
def test_the_kept_samples_are_numbered_anew_and_otherwise_the_same(tmp_path, kept):
    source = write_dataset(tmp_path / "source", factories.make_sample, num_samples=7, shard_size=3)
    manifest = DatasetManifest(class_set=FORKLIFTS, num_samples=len(kept), shard_size=2)
    target = DatasetWriter.create(tmp_path / "target", manifest)
    assert list(write_subset(source, kept, target)) == [len(target.shard_range(i)) for i in range(manifest.num_shards)]
    assert target.verify() == []
    assert [sample.prompt.index for sample in target] == list(range(len(kept)))
    assert [sample.seed for sample in target] == kept
    assert list(write_subset(source, kept, target)) == []
