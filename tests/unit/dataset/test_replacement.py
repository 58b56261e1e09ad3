import pytest
from tests.helpers.factories import make_sample, write_dataset

from dataset_diffusion.dataset.provenance import Provenance
from dataset_diffusion.dataset.replacement import begin_replacement, finish_replacement
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError


@pytest.fixture
def old(tmp_path):
    return write_dataset(tmp_path / "set", make_sample, num_samples=5, shard_size=2)


def test_the_new_samples_take_the_place_of_the_old(old):
    manifest = old.manifest.with_provenance(Provenance(seed=9))
    new = begin_replacement(old, manifest)
    for shard in new.missing_shards():
        new.write_shard(shard, [make_sample(index, text="anew; forklift") for index in new.shard_range(shard)])
    assert DatasetStore.open(old.path)[0].prompt.text != "anew; forklift"
    finish_replacement(new)
    store = DatasetStore.open(old.path)
    assert {sample.prompt.text for sample in store} == {"anew; forklift"}
    assert store.manifest == manifest
    assert store.verify() == []


def test_an_unfinished_replacement_does_not_take_its_place(old):
    new = write_dataset(old.path / ".replacement-new", make_sample, num_samples=5, shard_size=2, shards=[1, 2])
    with pytest.raises(DatasetError, match=r"not finished; got .*/\.replacement-new lacks 1 of 3 shards"):
        finish_replacement(new)
    assert DatasetStore.open(old.path).verify() == []
