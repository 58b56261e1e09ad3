import json

import numpy as np
import pytest
from tests.helpers.exporting import write_export
from tests.helpers.label_maps import HARD, make_store
from tests.helpers.processes import files_of

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.exports.driver import DatasetExport
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError

PNG = ExportSettings(format="png")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("driver") / "dataset", [HARD["spiral"]] * 4, shard_size=2)


def refusal(store, out, settings=PNG):
    """The message of an export that must be refused and change nothing."""
    before = files_of(out) if out.is_dir() else None
    with pytest.raises(DatasetError) as error:
        DatasetExport(store, out, settings).begin()
    assert before is None or files_of(out) == before
    return str(error.value)


def test_an_unfinished_dataset(tmp_path):
    store = make_store(tmp_path / "dataset", [HARD["comb"]] * 4, shard_size=1)
    store.shard_path(2).unlink()
    assert refusal(store, tmp_path / "out") == (
        f"the dataset is not finished; got {tmp_path / 'dataset'} lacks 1 of 4 shards; "
        "fix: run the command that began it again"
    )
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else(store, tmp_path):
    (tmp_path / "thesis.tex").write_text("five years of work")
    assert refusal(store, tmp_path) == (
        f"{tmp_path} is not empty; got thesis.tex in it; expected a new or empty folder, or one with the same export; "
        "fix: use another --out"
    )


def test_a_folder_of_another_export(store, tmp_path):
    out = tmp_path / "out"
    write_export(store.path, out, PNG)
    fix = f"fix: use another --out or delete {out}"
    assert refusal(store, out, ExportSettings(format="coco", polygons=True)) == (
        f"{out} holds another export; got format: coco (here: png), polygons: True (here: False); {fix}"
    )
    other = make_store(tmp_path / "other", [HARD["comb"]] * 3)
    assert refusal(other, out).startswith(f"{out} holds another export; got dataset: ")


@pytest.mark.parametrize("content", ["", "[]", '{"settings": 3}', "\udcff"])
def test_a_damaged_description(store, tmp_path, content):
    (tmp_path / "export.json").write_bytes(content.encode(errors="surrogateescape"))
    message = refusal(store, tmp_path)
    assert message.startswith(f"cannot read {tmp_path / 'export.json'}; got ")
    assert message.endswith(f"; fix: use another --out or delete {tmp_path}")


def test_a_file_in_the_way(store, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert f"cannot write {out}; got " in refusal(store, out)


def test_a_damaged_shard_of_the_dataset(tmp_path):
    store = make_store(tmp_path / "dataset", [HARD["comb"]] * 4, shard_size=2)
    data = store.shard_path(1).read_bytes()
    store.shard_path(1).write_bytes(data[: len(data) // 2])
    export = DatasetExport(DatasetStore.open(store.path), tmp_path / "out", PNG)
    export.begin()
    export.write_shard(0)
    with pytest.raises(DatasetError, match=r"00001\.parquet is damaged; got .*; fix: delete"):
        export.write_shard(1)
    assert export.missing_shards() == [1]


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_record_is_no_record(store, tmp_path, damage):
    """What a flipped bit or a power cut leaves is written again; no shard counts that cannot be counted."""
    write_export(store.path, tmp_path / "whole", PNG)
    export = DatasetExport(store, tmp_path / "out", PNG)
    export.begin()
    for shard in export.missing_shards():
        export.write_shard(shard)
    record = tmp_path / "out" / ".unfinished" / "00001.jsonl"
    data = record.read_bytes()
    damaged = {"flipped": data[:90] + bytes([data[90] ^ 1]) + data[91:], "cut": data[:-20], "empty": b""}[damage]
    record.write_bytes(damaged)
    assert export.missing_shards() == [1]
    write_export(store.path, tmp_path / "out", PNG)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_it_says_what_it_is(store, tmp_path):
    write_export(store.path, tmp_path, PNG)
    description = json.loads((tmp_path / "export.json").read_text())
    assert description["settings"] == PNG.model_dump()
    assert description["num_samples"] == 4
    assert description["classes"] == ["background", "forklift", "hand truck", "Öl | fass: 3"]


def test_the_card_counts_every_sample(tmp_path):
    half = np.array([[1, 1], [0, 255]], np.uint8)
    store = make_store(tmp_path / "dataset", [half, half, np.zeros((2, 2), np.uint8)], shard_size=2)
    write_export(store.path, tmp_path / "out", PNG)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "# 3 labelled images of 3 classes" in card
    assert "| 0 | background | 3 | 50.00% |" in card
    assert "| 1 | forklift | 2 | 33.33% |" in card
    assert "| 2 | hand truck | 0 | 0.00% |" in card
    assert "| pixels ignored in training (id 255) | 16.7% |" in card
