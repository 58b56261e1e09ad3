"""Whatever a file holds, its reader either reads it or says in one line what is wrong with it."""

import dataclasses
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from dataset_diffusion.config import LabelSettings, make_settings
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.schema import SCHEMA, decode_image, decode_label, encode_label, encode_sample
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import ConfigError, DatasetDiffusionError, DatasetError
from dataset_diffusion.prompts.captions import read_captions
from dataset_diffusion.prompts.class_sets import ClassSet, class_set, resolve_classes
from dataset_diffusion.prompts.compose import build_prompts
from dataset_diffusion.prompts.prompt_files import read_prompts
from dataset_diffusion.recipe import load_recipe
from dataset_diffusion.records import Prompt, Sample

VOC = class_set("voc")
PROMPT = Prompt(0, "a cat; cat", "cat", (8,), ("cat",))
SAMPLE = Sample(1, PROMPT, np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 8, np.uint8), None, {"uncertain": 0.5})
MANIFEST = DatasetManifest(class_set=VOC, num_samples=1)


def prompts_file() -> bytes:
    header = {"schema_version": 1, "class_set": {"name": "own", "names": ["cat", "dog"]}}
    line = {"index": 0, "text": "a cat; cat", "class_prompt": "cat", "classes": [1], "class_words": ["cat"]}
    return "\n".join(map(json.dumps, (header, line))).encode()


def shard(row: dict[str, Any] | None = None) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row or encode_sample(SAMPLE, VOC)], schema=SCHEMA), buffer)
    return buffer.getvalue()


def read_shard(path: Path) -> None:
    MANIFEST.save(path.parent)
    (path.parent / "shards").mkdir(exist_ok=True)
    path.replace(path.parent / "shards" / "00000.parquet")
    store = DatasetStore.open(path.parent)
    problems = store.verify()
    assert all(len(problem.splitlines()) == 1 for problem in problems)
    store[0]
    store.image_and_label(0)
    store.label(0)


def read_image(path: Path) -> None:
    decode_image(path.read_bytes())
    decode_label(path.read_bytes())


@dataclasses.dataclass(frozen=True)
class Reader:
    """What reads a file, and one that it can read."""

    name: str
    valid: bytes
    read: Callable[[Path], object]


READERS = {
    "captions": Reader("a.txt", b"a cat on a mat\na dog\n", read_captions),
    "COCO captions": Reader("a.json", b'{"annotations": [{"caption": "a cat"}]}', read_captions),
    "caption lines": Reader("a.jsonl", b'{"caption": "a cat"}\n{"caption": "a dog"}\n', read_captions),
    "caption table": Reader("a.csv", b'image,caption\n1.jpg,"a cat, asleep"\n', read_captions),
    "caption tokens": Reader("a.token", b"1.jpg#0\ta cat\n1.jpg#1\ta dog\n", read_captions),
    "prompts": Reader("prompts.jsonl", prompts_file(), read_prompts),
    "published prompts": Reader(
        "prompts.json",
        b'[{"filename": "1.jpg", "caption": "a cat; cat", "class_prompt": "cat"}]',
        lambda path: read_prompts(path, VOC),
    ),
    "manifest": Reader(
        "dataset.json", MANIFEST.model_dump_json().encode(), lambda path: DatasetStore.open(path.parent)
    ),
    "recipe": Reader("a.toml", b'seed = 1\n[label]\nthreshold = 0.6\n[generate]\nmodel = "embedded"\n', load_recipe),
    "shard": Reader("shard", shard(), read_shard),
    "image": Reader("a.png", encode_label(SAMPLE.label, VOC), read_image),
    "class names": Reader("names", b"cat, dog,fox", lambda path: resolve_classes(path.read_text("latin-1"))),
    "class set": Reader(
        "set.json", json.dumps(VOC.to_json()).encode(), lambda path: ClassSet.from_json(json.loads(path.read_bytes()))
    ),
}
JSON_READERS = [name for name, reader in READERS.items() if reader.name.endswith(".json")]

often = settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
every_reader = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def survives(reader: Reader, data: bytes, folder: Path) -> None:
    path = folder / reader.name
    path.write_bytes(data)
    message = refusal(lambda: reader.read(path))
    assert len(message.splitlines()) <= 1
    assert len(message) <= 2_000


def refusal(read: Callable[[], object]) -> str:
    """What a reader says is wrong; empty where it reads. Any error but the project's own passes through."""
    try:
        read()
    except DatasetDiffusionError as error:
        return str(error)
    return ""


@st.composite
def damaged(draw, data):
    """Some bytes with a piece replaced by other bytes, by a copy of another piece, or by nothing."""
    start = draw(st.integers(0, len(data)))
    stop = draw(st.integers(start, min(len(data), start + 16)))
    source = draw(st.integers(0, len(data)))
    piece = draw(st.binary(max_size=8) | st.just(data[source : source + 16]) | st.just(b""))
    return data[:start] + piece + data[stop:]


@every_reader
def test_the_example_can_be_read(reader, tmp_path):
    path = tmp_path / reader.name
    path.write_bytes(reader.valid)
    reader.read(path)


@every_reader
def test_any_bytes(reader, tmp_path):
    if reader.name == "set.json":
        pytest.skip("the class set is read from JSON values")

    @often
    @given(data=st.binary(max_size=200))
    @example(data=b"")
    @example(data=b"\xff\xfe\x00\x00")
    @example(data=b"[" * 100_000)
    @example(data=b'{"a":' * 100_000)
    @example(data=b"a = " + b"[" * 100_000)
    @example(data=b"seed = " + b"9" * 10_000)
    @example(data=b'{"schema_version": ' + b"9" * 10_000 + b"}")
    @example(data=b"cat" * 3_500_000)
    def check(data):
        survives(reader, data, tmp_path)

    check()


@every_reader
def test_a_valid_file_with_a_damaged_place(reader, tmp_path):
    @often
    @given(data=damaged(reader.valid))
    def check(data):
        try:
            json.loads(data)
        except (ValueError, RecursionError):
            if reader.name == "set.json":
                return
        survives(reader, data, tmp_path)

    check()


@pytest.mark.parametrize("name", JSON_READERS)
def test_a_value_of_another_kind(name, tmp_path):
    """One value of the valid file, wherever it is, becomes anything else."""
    reader = READERS[name]
    whole = json.loads(reader.valid)

    @often
    @given(place=st.sampled_from(list(places(whole))), value=json_values)
    def check(place, value):
        survives(reader, json.dumps(replaced(whole, place, value)).encode(), tmp_path)

    check()


def places(value, path=()):
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from places(inner, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


def test_a_shard_whose_values_are_missing_or_absurd(tmp_path):
    row = encode_sample(SAMPLE, VOC)
    values = {
        "int": st.none() | st.integers(-(2**31), 2**31 - 1),
        "double": st.none() | st.floats(),
        "string": st.none() | st.text(max_size=5),
        "list<element: int": st.none() | st.lists(st.none() | st.integers(-2, 300), max_size=4),
        "list<element: string": st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3),
        "list<element: halffloat": st.none() | st.lists(st.floats(width=16), max_size=6).map(np.float16),
        "list<element: float": st.none() | st.lists(st.floats(width=32), max_size=6),
        "list<element: struct": st.none() | st.lists(st.none() | st.just({"name": None, "value": None}), max_size=2),
        "struct": st.none() | st.fixed_dictionaries({"bytes": st.none() | st.binary(max_size=9), "path": st.none()}),
    }

    def values_of(name):
        kind = str(SCHEMA.field(name).type).replace("item:", "element:")
        return next(strategy for start, strategy in values.items() if kind.startswith(start))

    @settings(often, max_examples=150)
    @given(changes=st.sampled_from(SCHEMA.names).flatmap(lambda name: st.tuples(st.just(name), values_of(name))))
    def check(changes):
        survives(READERS["shard"], shard(row | dict([changes])), tmp_path)

    check()


def bomb(width=100_000, height=100_000):
    """A PNG of a few bytes that says it is ten thousand megapixels large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = {b"IHDR": header, b"PLTE": bytes(3), b"IDAT": zlib.compress(bytes(1000)), b"IEND": b""}
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("decode", [decode_image, decode_label])
def test_a_decompression_bomb_is_not_decompressed(decode):
    with pytest.raises(DatasetError) as raised:
        decode(bomb())
    assert str(raised.value).startswith(
        "the image is absurdly large; got Image size (10000000000 pixels) exceeds limit"
    )


def test_a_bomb_in_a_shard_is_told_by_its_sample(tmp_path):
    row = encode_sample(SAMPLE, VOC) | {"image": {"bytes": bomb(), "path": "00000000.png"}}
    MANIFEST.save(tmp_path)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00000.parquet").write_bytes(shard(row))
    assert any("sample 0: the image is absurdly large" in problem for problem in DatasetStore.open(tmp_path).verify())


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "..\\..\\boot.ini", "a\x00b", "C:x"])
def test_a_file_name_in_a_prompts_file_names_no_file(name, tmp_path):
    read = READERS["published prompts"].read
    entry = {"filename": name, "caption": "a cat; cat", "class_prompt": "cat"}
    (tmp_path / "hostile.json").write_text(json.dumps([entry]))
    (tmp_path / "plain.json").write_text(json.dumps([entry | {"filename": "1.jpg"}]))
    assert read(tmp_path / "hostile.json") == read(tmp_path / "plain.json")


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "a\x00b", "..", "\ud800", "c" * 10_000_000])
def test_class_names_that_could_name_no_file(name):
    with pytest.raises(ConfigError) as raised:
        ClassSet.from_names([name, "cat"])
    assert len(str(raised.value)) < 1_000


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
def test_thresholds_that_are_no_numbers(value, tmp_path):
    with pytest.raises(ConfigError, match=r"^bad value of --threshold; got (nan|inf|-inf); expected a finite number$"):
        make_settings(LabelSettings, threshold=float(value))
    recipe = tmp_path / "a.toml"
    recipe.write_text(f"[label]\nthreshold = {value}\n")
    with pytest.raises(ConfigError, match=r"bad value of `label.threshold`; got (nan|inf|-inf); expected a finite"):
        load_recipe(recipe)


@pytest.mark.parametrize("option", ["height", "width"])
def test_absurd_sizes_are_refused_before_memory_is_asked_for(option, tmp_path):
    recipe = tmp_path / "a.toml"
    recipe.write_text(f"[generate]\n{option} = 1000000000000\n")
    with pytest.raises(ConfigError, match=rf"bad value of `generate.{option}`; got 1000000000000; expected less than"):
        load_recipe(recipe)


@often
@given(captions=st.lists(st.text(max_size=30), max_size=4))
def test_any_captions_make_prompts_or_one_line(captions):
    made = []
    message = refusal(lambda: made.extend(build_prompts(captions, VOC, 3, seed=0)))
    assert len(message.splitlines()) <= 1
    assert [prompt.index for prompt in made] == ([] if message else [0, 1, 2])
