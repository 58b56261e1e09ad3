"""What every dataset on disk promises, whatever its images, heatmaps and shards are."""

import dataclasses
import io
import multiprocessing
import pickle
import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.helpers.factories import fill, make_heatmaps, make_sample
from upath import UPath

from dataset_diffusion.config import GenerateSettings
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.provenance import Provenance
from dataset_diffusion.dataset.replacement import finish_replacement
from dataset_diffusion.dataset.schema import SCHEMA
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.verify import problems_of
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import class_set

VOC = class_set("voc")


@dataclass(frozen=True)
class Kind:
    """One kind of dataset."""

    num_samples: int = 21
    shard_size: int = 10
    image_format: str = "png"
    heatmaps: bool = True
    size: tuple[int, int] = (12, 16)

    def manifest(self, **changes):
        fields = {
            "class_set": VOC,
            "num_samples": self.num_samples,
            "shard_size": self.shard_size,
            "image_format": self.image_format,
            "provenance": Provenance(seed=0, generate=GenerateSettings(steps=20)),
        }
        return DatasetManifest(**(fields | changes))

    def sample(self, index):
        random = np.random.default_rng(index)
        classes = ((20,), (11, 20), (5, 11, 20))[index % 3]
        words = tuple(VOC.word_of(class_id) for class_id in classes)
        heatmaps = make_heatmaps(index, len(classes), (0, 1, 2, 4, 8), (4, 5)) if self.heatmaps else None
        return make_sample(
            index,
            seed=int(random.integers(0, 2**63)),
            text=f"an “odd” caption\n{index}; {' '.join(words)}",
            classes=classes,
            words=words,
            size=self.size,
            heatmaps=heatmaps,
            quality={"uncertain": random.random(), "foreground": random.random()},
        )

    def replace_samples(self, path):
        """Put samples of another seed in the place of a dataset's, as relabelling in place does."""
        new = DatasetWriter.create(path / ".replacement-new", self.manifest(provenance=Provenance(seed=1)))
        finish_replacement(fill(new, self.sample))

    def fill(self, path, shards=None):
        return fill(DatasetWriter.create(path, self.manifest()), self.sample, shards)


KINDS = {
    "png": Kind(),
    "jpeg": Kind(image_format="jpeg"),
    "known truth": Kind(heatmaps=False),
    "one sample": Kind(num_samples=1),
    "full last shard": Kind(num_samples=20),
    "one sample a shard": Kind(num_samples=3, shard_size=1),
    "row groups within a shard": Kind(num_samples=21, shard_size=64),
}

PNG = KINDS["png"]


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request):
    return request.param


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def assert_same_sample(got, expected, lossy=False):
    assert (got.seed, got.prompt, got.quality) == (expected.seed, expected.prompt, expected.quality)
    np.testing.assert_array_equal(got.label, expected.label)
    assert got.image.shape == expected.image.shape
    if not lossy:
        np.testing.assert_array_equal(got.image, expected.image)
    assert (got.heatmaps is None) == (expected.heatmaps is None)
    if expected.heatmaps is not None:
        assert got.heatmaps.exponents == expected.heatmaps.exponents
        np.testing.assert_array_equal(got.heatmaps.values, expected.heatmaps.values)
        np.testing.assert_array_equal(got.heatmaps.ranges, expected.heatmaps.ranges)


# Reading what was written


def test_samples_come_back_in_order_and_by_index(tmp_path, kind):
    kind.fill(tmp_path)
    store = DatasetStore.open(tmp_path)
    assert len(store) == kind.num_samples
    assert store.is_complete
    assert store.class_set == VOC
    lossy = kind.image_format == "jpeg"
    for index, sample in enumerate(store):
        assert_same_sample(sample, kind.sample(index), lossy)
    for index in np.random.default_rng(0).permutation(kind.num_samples):
        assert_same_sample(store[index], kind.sample(int(index)), lossy)
        image, label = store.image_and_label(index)
        assert_same_sample(dataclasses.replace(store[index], image=image, label=label), kind.sample(int(index)), lossy)
        assert (store.image(index) == image).all()
        assert (store.label(index) == label).all()
    assert store[-1].prompt.index == kind.num_samples - 1
    assert store[-kind.num_samples].prompt.index == 0


def test_indices_outside_are_index_errors(tmp_path, kind):
    store = kind.fill(tmp_path)
    for index in (kind.num_samples, -kind.num_samples - 1):
        with pytest.raises(IndexError, match=rf"sample {index} of a dataset of {kind.num_samples}"):
            store[index]


def test_verify_finds_nothing_wrong(tmp_path, kind):
    assert kind.fill(tmp_path).verify() == []


def test_a_store_travels_to_other_processes(tmp_path, kind):
    store = kind.fill(tmp_path)
    first = store[0]
    assert_same_sample(pickle.loads(pickle.dumps(store))[0], first)


def test_plain_parquet_readers_see_the_columns(tmp_path, kind):
    kind.fill(tmp_path)
    table = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "shards").glob("*.parquet")))
    assert table.column_names == SCHEMA.names
    assert table["index"].to_pylist() == list(range(kind.num_samples))
    picture = Image.open(io.BytesIO(table["image"][0].as_py()["bytes"]))
    assert picture.size == kind.size[::-1]
    assert picture.format == kind.image_format.upper()


def test_hugging_face_datasets_reads_it_as_it_is(tmp_path, kind):
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    kind.fill(tmp_path / "set")
    shards = sorted(str(path) for path in (tmp_path / "set" / "shards").glob("*.parquet"))
    loaded = datasets.load_dataset("parquet", data_files=shards, split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == kind.num_samples
    row, sample = loaded[kind.num_samples - 1], kind.sample(kind.num_samples - 1)
    assert row["image"].size == row["label"].size == kind.size[::-1]
    np.testing.assert_array_equal(np.asarray(row["label"]), sample.label)
    assert row["label"].mode == "P"
    assert (row["seed"], row["classes"]) == (sample.seed, list(sample.prompt.classes))
    assert {score["name"]: score["value"] for score in row["quality"]} == sample.quality
    if kind.heatmaps:
        np.testing.assert_array_equal(np.float16(row["heatmaps"]), sample.heatmaps.values.ravel())
    else:
        assert row["heatmaps"] is None


def test_row_groups_of_another_size_are_read(tmp_path):
    path = PNG.fill(tmp_path).shard_path(1)
    pq.write_table(pq.read_table(path), path, row_group_size=3)
    store = DatasetStore.open(tmp_path)
    for index in store.shard_range(1):
        assert_same_sample(store[index], PNG.sample(index))


# The same bytes, however often the writer was stopped


def test_two_writes_give_the_same_bytes(tmp_path, kind):
    kind.fill(tmp_path / "one")
    kind.fill(tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_stopped_and_resumed_dataset_has_the_same_bytes(tmp_path, kind):
    kind.fill(tmp_path / "whole")
    shards = DatasetStore.open(tmp_path / "whole").manifest.num_shards

    stopped = kind.fill(tmp_path / "resumed", shards=[shards - 1])
    assert stopped.missing_shards() == list(range(shards - 1))
    assert stopped.is_complete == (shards == 1)
    # What a writer leaves that is killed in the middle of a shard, of one already there, and of the manifest.
    whole = (tmp_path / "whole" / "shards" / "00000.parquet").read_bytes()
    for leftover in ("shards/.00000.parquet.0badf00d.tmp", f"shards/.{shards - 1:05d}.parquet.0badf00d.tmp"):
        (tmp_path / "resumed" / leftover).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "resumed" / ".dataset.json.0badf00d.tmp").write_bytes(b"{")

    kind.fill(tmp_path / "resumed")
    assert files(tmp_path / "resumed") == files(tmp_path / "whole")


def test_a_killed_writer_is_resumed_to_the_same_bytes(tmp_path):
    kind = Kind(num_samples=48, shard_size=6)
    writer = multiprocessing.get_context("spawn").Process(target=kind.fill, args=(tmp_path / "killed",))
    writer.start()
    while writer.is_alive() and len(list((tmp_path / "killed").glob("shards/*.parquet"))) < 3:
        time.sleep(0.001)
    writer.kill()
    writer.join()
    assert (tmp_path / "killed" / "dataset.json").exists()

    kind.fill(tmp_path / "killed")
    kind.fill(tmp_path / "whole")
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_resuming_a_finished_dataset_touches_nothing(tmp_path, kind):
    kind.fill(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert kind.fill(tmp_path).is_complete
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_shards_share_out_all_samples(tmp_path, kind):
    store = DatasetWriter.create(tmp_path, kind.manifest())
    ranges = [store.shard_range(shard) for shard in range(store.manifest.num_shards)]
    assert [index for indices in ranges for index in indices] == list(range(kind.num_samples))
    assert all(len(indices) == kind.shard_size for indices in ranges[:-1])
    for shard in (-1, store.manifest.num_shards):
        with pytest.raises(IndexError, match=rf"shard {shard} of a dataset of"):
            store.shard_range(shard)


def test_a_rewritten_shard_is_what_is_read_next(tmp_path):
    store = PNG.fill(tmp_path)
    assert store[0].label.any()
    blank = [
        dataclasses.replace(sample, label=np.zeros_like(sample.label))
        for sample in map(PNG.sample, store.shard_range(0))
    ]
    store.write_shard(0, blank)
    assert not store[0].label.any()


# Mistakes, each told in one line that names the fix


def fails(match):
    return pytest.raises(DatasetError, match=rf"\A[^\n]*{match}[^\n]*\Z")


CHANGED = r"set was changed while it was read; got {}; fix: run the command again"


@pytest.mark.parametrize("travelled", [False, True])
def test_a_reader_does_not_mix_old_samples_with_those_that_took_their_place(tmp_path, travelled):
    PNG.fill(tmp_path / "set")
    reader, late = DatasetStore.open(tmp_path / "set"), DatasetStore.open(tmp_path / "set")
    first = reader[0]
    PNG.replace_samples(tmp_path / "set")
    late = pickle.loads(pickle.dumps(late)) if travelled else late
    for read in (late.__getitem__, late.image_and_label, late.label):
        with fails(CHANGED.format(r"config\.seed: 1 \(here: 0\)")):
            read(10)
    with fails(CHANGED.format(r"config\.seed: 1 \(here: 0\)")):
        late.read_table(1)
    with fails(CHANGED.format(r"config\.seed: 1 \(here: 0\)")):
        problems_of(late, 1)  # which are none
    assert_same_sample(reader[0], first)  # of a shard that was open before
    assert DatasetStore.open(tmp_path / "set")[10].prompt.index == 10


def test_a_reader_stops_while_samples_are_being_replaced(tmp_path):
    store = PNG.fill(tmp_path / "set")
    (tmp_path / "set" / "dataset.json").unlink()  # the first step of a replacement
    with fails(CHANGED.format("samples that are being replaced")):
        store[0]


def test_a_dataset_that_several_jobs_began_together_is_unchanged(tmp_path):
    store = PNG.fill(tmp_path)
    store.manifest.save(tmp_path)
    assert_same_sample(store[0], PNG.sample(0))


def test_another_configuration_is_refused_and_nothing_is_lost(tmp_path):
    PNG.fill(tmp_path / "set")
    before = files(tmp_path / "set")
    other = PNG.manifest(provenance=Provenance(seed=0, generate=GenerateSettings(steps=50)), num_samples=40)
    there = r"num_samples: 40 \(here: 21\), config\.generate\.steps: 50 \(here: 20\)"
    with fails(rf"another configuration; got {there}; fix: use another --out or delete "):
        DatasetWriter.create(tmp_path / "set", other)
    assert files(tmp_path / "set") == before


def test_shards_without_a_manifest_are_not_taken_over(tmp_path):
    PNG.fill(tmp_path)
    (tmp_path / "dataset.json").unlink()
    with fails(r"has shards but no dataset\.json; fix: restore dataset\.json, use another --out or delete "):
        DatasetWriter.create(tmp_path, PNG.manifest())
    with fails(r"not a dataset; got .*; expected a folder with dataset\.json"):
        DatasetStore.open(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with fails("cannot write .*; got (File exists|Not a directory); fix: .*another --out"):
            DatasetWriter.create(path, PNG.manifest())


def test_a_folder_that_vanished_while_writing(tmp_path):
    store = DatasetWriter.create(tmp_path, PNG.manifest())
    (tmp_path / "shards").rmdir()
    with fails("cannot write .*00000.parquet; got No such file or directory; fix: "):
        store.write_shard(0, map(PNG.sample, range(10)))


def test_a_dataset_is_read_from_any_storage_that_fsspec_knows(tmp_path):
    local = PNG.fill(tmp_path)
    remote = UPath("memory://bucket/set")
    for file in (file for file in tmp_path.rglob("*") if file.is_file()):
        copy = remote / file.relative_to(tmp_path).as_posix()
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    store = pickle.loads(pickle.dumps(DatasetStore.open("memory://bucket/set")))
    assert store.is_complete
    assert store.verify() == []
    for index, sample in enumerate(store):
        assert_same_sample(sample, local[index])
    (remote / "shards" / "00001.parquet").unlink()
    assert store.missing_shards() == [1]
    with fails("datasets are written to local folders; got memory://bucket/set; fix: "):
        DatasetWriter.open("memory://bucket/set").write_shard(1, map(PNG.sample, store.shard_range(1)))


def test_a_storage_that_cannot_be_written_or_is_not_known():
    with fails("datasets are written to local folders; got memory://bucket/other; fix: "):
        DatasetWriter.create("memory://bucket/other", PNG.manifest())
    with fails("not a dataset; got memory://bucket/other; expected a folder with dataset.json"):
        DatasetStore.open("memory://bucket/other")
    with fails(r"cannot read from this storage; got nowhere://bucket/set \(.*\); expected an URL of fsspec"):
        DatasetStore.open("nowhere://bucket/set")


def test_a_missing_shard(tmp_path):
    store = PNG.fill(tmp_path, shards=[0, 2])
    assert store[9].prompt.index == 9
    with fails(r"00001\.parquet is missing; fix: run the command that made the dataset again"):
        store[10]
    [problem] = store.verify()
    assert "00001.parquet is missing" in problem


def half(data):
    return data[: len(data) // 2]


def flipped(data):
    group = pq.read_metadata(io.BytesIO(data)).row_group(0)
    columns = map(group.column, range(group.num_columns))
    images = next(column for column in columns if column.path_in_schema == "image.bytes")
    middle = images.data_page_offset + images.total_compressed_size // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def garbled_column_name(data):
    position = data.index(b"label_sha256")
    return data[:position] + b"\xff" + data[position + 1 :]


def other_columns(data):
    buffer = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(data)).drop_columns(["seed"]), buffer)
    return buffer.getvalue()


def fewer_rows(data):
    buffer = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(data)).slice(0, 7), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damage",
    [half, flipped, garbled_column_name, other_columns, fewer_rows, lambda _: b"", lambda _: b"text"],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_shard(tmp_path, damage):
    path = PNG.fill(tmp_path).shard_path(1)
    path.write_bytes(damage(path.read_bytes()))
    store = DatasetStore.open(tmp_path)
    assert store[0].prompt.index == 0
    with fails(r"00001\.parquet is damaged; got .*; fix: delete .*00001\.parquet and run the command"):
        for index in store.shard_range(1):
            store[index]
    [problem] = store.verify()
    assert "00001.parquet is damaged" in problem

    path.unlink()
    PNG.fill(tmp_path)
    assert store.verify() == []


def test_no_flipped_byte_goes_unseen(tmp_path):
    kind = Kind(num_samples=2, size=(4, 4))
    store = kind.fill(tmp_path)
    path, clean = store.shard_path(0), store.shard_path(0).read_bytes()
    for position in np.random.default_rng(0).choice(len(clean), 100, replace=False):
        path.write_bytes(clean[:position] + bytes([clean[position] ^ 0x10]) + clean[position + 1 :])
        store = DatasetStore.open(tmp_path)
        if not store.verify():
            for index, sample in enumerate(store):
                assert_same_sample(sample, kind.sample(index))


def test_verify_says_which_sample_is_wrong(tmp_path):
    store = PNG.fill(tmp_path)
    rows = pq.read_table(store.shard_path(1)).to_pylist()
    rows[2]["image_sha256"] = "0" * 64
    rows[3]["index"] = 99
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), store.shard_path(1))
    (tmp_path / "shards" / "00007.parquet").write_bytes(b"")
    assert DatasetStore.open(tmp_path).verify() == [
        "00001.parquet: row 3: index 99, expected 13",
        "00001.parquet: sample 12: the image does not have its recorded SHA-256",
        "00007.parquet: no shard of this dataset",
    ]


def test_a_shard_is_written_whole_from_rows_that_were_encoded_piece_by_piece(tmp_path):
    PNG.fill(tmp_path / "whole", shards=[0])
    pieces = DatasetWriter.create(tmp_path / "pieces", PNG.manifest())
    rows = [row for index in range(10) for row in pieces.encode([PNG.sample(index)])]
    pieces.write_rows(0, rows)
    assert files(tmp_path / "pieces") == files(tmp_path / "whole")
    with fails("shard 1 takes other samples; got indices .*; expected 10 to 19 in order"):
        pieces.write_rows(1, rows)


def test_broken_shards_are_told_apart_from_whole_ones(tmp_path):
    store = PNG.fill(tmp_path, shards=[0, 1])
    store.shard_path(1).write_bytes(b"half")
    assert problems_of(store, 0) == []
    [damaged], [missing] = (problems_of(store, shard) for shard in (1, 2))
    assert "00001.parquet is damaged" in damaged
    assert "00002.parquet is missing" in missing


@pytest.mark.parametrize("shard", [0, 1])
def test_what_a_killed_writer_left_goes_when_its_shard_is_there(tmp_path, shard):
    PNG.fill(tmp_path, shards=[0])
    left = tmp_path / "shards" / f".0000{shard}.parquet.0badcafe.tmp"
    left.write_bytes(b"half")
    DatasetWriter.create(tmp_path, PNG.manifest())
    assert left.exists() == (shard == 1)  # a writer of it may be at work
    PNG.fill(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize("indices", [range(9), range(1, 11), range(11), [0, 0, *range(2, 10)], []])
def test_a_shard_takes_its_own_samples_only(tmp_path, indices):
    store = DatasetWriter.create(tmp_path, PNG.manifest())
    with fails("shard 0 takes other samples; got indices .*; expected 0 to 9 in order"):
        store.write_shard(0, map(PNG.sample, indices))
    assert list(files(tmp_path)) == ["dataset.json"]


def test_a_sample_that_is_not_valid_is_not_stored(tmp_path):
    store = DatasetWriter.create(tmp_path, PNG.manifest())
    strange = dataclasses.replace(PNG.sample(0), label=np.full(PNG.size, 21, np.uint8))
    with fails("sample 0 cannot be stored; got label ids outside the class set: 21"):
        store.write_shard(0, [strange])
    assert list(files(tmp_path)) == ["dataset.json"]
