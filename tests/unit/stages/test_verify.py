from itertools import chain

import fsspec
import pytest
from tests.helpers.factories import make_sample, write_dataset
from tests.helpers.processes import refuse, run_command, succeed

from dataset_diffusion.dataset.verify import missing_shard_problems, problems_of, unknown_files
from dataset_diffusion.stages.verify import find_broken_shards


@pytest.fixture
def store(tmp_path):
    return write_dataset(tmp_path / "dataset", make_sample, num_samples=9, shard_size=2)


@pytest.mark.parametrize("workers", [1, 3, None])
def test_threads_find_what_the_store_finds_in_the_same_order(store, workers):
    assert find_broken_shards(store, workers) == {}
    for shard in (0, 1, 4):
        data = bytearray(store.shard_path(shard).read_bytes())
        data[200] ^= 1
        store.shard_path(shard).write_bytes(data)
    store.shard_path(3).unlink()
    (store.path / "shards" / "00007.parquet").write_bytes(b"")
    broken = find_broken_shards(store, workers)
    assert list(broken) == [0, 1, 4]
    for shard, problems in broken.items():
        assert problems == problems_of(store, shard)
    missing = missing_shard_problems(store)
    assert [*chain.from_iterable(broken.values()), *missing, *unknown_files(store)] == store.verify()


def test_missing_shards_are_told_in_runs(store):
    assert missing_shard_problems(store) == []
    for shard in (0, 2, 3):
        store.shard_path(shard).unlink()
    shards = store.path / "shards"
    assert missing_shard_problems(store) == [
        f"{shards / '00000.parquet'} is missing; fix: run the command that made the dataset again to write it",
        f"{shards / '00002.parquet'} to 00003.parquet are missing (2 shards); "
        "fix: run the command that made the dataset again to write them",
    ]


def test_the_command_says_what_is_wrong(store):
    assert run_command("verify", store.path, "--num-workers", 2).status == 0
    store.shard_path(1).unlink()
    outcome = run_command("verify", store.path, "--num-workers", 2)
    assert (outcome.status, outcome.out) == (
        2,
        f"{store.shard_path(1)} is missing; fix: run the command that made the dataset again to write it\n",
    )


def test_no_worker_is_refused(store):
    assert refuse("verify", store.path, "--num-workers", 0) == (
        "bad value of --num-workers; got 0; expected greater than or equal to 1"
    )


def test_a_dataset_at_a_url(store, tmp_path):
    fsspec.filesystem("memory").put(str(store.path), "/verified/set", recursive=True)
    assert succeed("verify", "memory://verified/set").startswith("memory://verified/set: 9 samples in 5 shards")
    succeed("export", "memory://verified/set", "--format", "png", "--out", tmp_path / "export")
    assert len(list((tmp_path / "export").rglob("*.png"))) == 3 * 9  # images, label maps, and those in colour
