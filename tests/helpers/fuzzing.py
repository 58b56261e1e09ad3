"""Damage files of every kind that is read, one at a time: their reader reads on, or says in one line what is wrong."""

import json
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from tests.helpers.factories import FORKLIFTS, make_heatmaps, make_sample, write_dataset
from tests.helpers.folders import FOLDERS

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.dataset.counts import count_labels
from dataset_diffusion.dataset.filtering.rules import parse_rule
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.specs import model_spec
from dataset_diffusion.disk.instances import read_instances
from dataset_diffusion.disk.pictures import read_photo
from dataset_diffusion.errors import DatasetDiffusionError
from dataset_diffusion.evaluation.table import open_benchmark
from dataset_diffusion.prompts.captions import read_captions
from dataset_diffusion.prompts.class_sets import ClassSet, class_set, resolve_classes
from dataset_diffusion.prompts.photo_classes import read_captioned_classes, read_class_table
from dataset_diffusion.prompts.prompt_files import read_prompts
from dataset_diffusion.reading import Reading
from dataset_diffusion.recipe import load_recipe
from dataset_diffusion.report.contents import read_contents
from dataset_diffusion.segmentation.model_folder import Identity, ModelFolder

SECONDS, BYTES = 10, 2 * 2**30
"""What one case may take, beyond what the process has already."""

VOC = class_set("voc")
_EMBEDDED = files("dataset_diffusion") / "assets" / "model"
_INSTANCES = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 4}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [[0, 0, 3, 0, 3, 3]]}],
    "categories": [{"id": 1, "name": "person"}],
}
_SCORES = {"miou": 0.5, "pixel_accuracy": 0.5, "per_class_iou": {"cat": 0.5}, "num_images": 2, "classes": ["a", "cat"]}

Make = Callable[[Path], object]


def _files(**contents: bytes | str) -> Make:
    """What writes files; ``_`` in a name stands for the dot."""

    def make(folder: Path) -> None:
        for name, content in contents.items():
            (folder / name.replace("_", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def _prompts(folder: Path) -> None:
    header = {"schema_version": 1, "class_set": {"name": "own", "names": ["cat", "dog"]}}
    line = {"index": 0, "text": "a cat; cat", "class_prompt": "cat", "classes": [1], "class_words": ["cat"]}
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, (header, line))))


def _dataset(folder: Path) -> None:
    def sample(index):
        return make_sample(index, heatmaps=make_heatmaps(index), quality={"uncertain": 0.5})

    write_dataset(folder, sample, num_samples=3, shard_size=2)


def _read_dataset(folder: Path) -> None:
    store = DatasetStore.open(folder)
    assert all(len(problem.splitlines()) == 1 for problem in store.verify())
    count_labels(store)
    store.check_complete()
    if len(store) <= 3:
        for index in range(len(store)):
            store[index]
            store.image_and_label(index)


def _description(folder: Path) -> None:
    identity = Identity(FORKLIFTS, TrainSettings(), 0, 3, "data")
    (folder / "model.json").write_text(json.dumps(identity.to_json()))


def _run(folder: Path) -> None:
    _prompts(folder)
    for name in ("dataset", "model"):
        (folder / name).mkdir()
    _dataset(folder / "dataset")
    _description(folder / "model")
    (folder / "results.json").write_text(json.dumps(_SCORES))
    (folder / "config.json").write_text("{}")
    (folder / "model" / "training_log.jsonl").write_text('{"step": 1, "loss": 0.5, "learning_rate": 0.1}\n')


def _model_configs(folder: Path) -> None:
    for name in ("model_index.json", "unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(str(_EMBEDDED / name), folder / name)


def _photos(folder: Path) -> None:
    picture = Image.new("RGB", (8, 6), (200, 30, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "a.jpg", exif=exif)
    for suffix in ("png", "webp", "tif", "bmp"):
        picture.save(folder / f"a.{suffix}")
    Image.new("I;16", (4, 4), 700).save(folder / "b.png")


def _read_photos(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        read_photo(path)


def _read_benchmark(name: str, folder: Path) -> None:
    for image in open_benchmark(name, folder):
        assert image.image.shape[:2] == image.label.shape


def _read_one(read: Callable[[Path], object], name: str) -> Make:
    return lambda folder: read(folder / name)


def _text(path: Path) -> str:
    return path.read_text("latin-1")


READERS: dict[str, tuple[Make, Make]] = {
    "captions, text": (_files(a_txt="a cat on a mat\na dog\n"), _read_one(read_captions, "a.txt")),
    "captions, COCO": (_files(a_json='{"annotations": [{"caption": "a cat"}]}'), _read_one(read_captions, "a.json")),
    "captions, JSON lines": (_files(a_jsonl='{"caption": "a cat"}\n'), _read_one(read_captions, "a.jsonl")),
    "captions, CSV": (_files(a_csv='image,caption\n1.jpg,"a cat, asleep"\n'), _read_one(read_captions, "a.csv")),
    "captions, Flickr": (_files(a_token="1.jpg#0\ta cat\n1.jpg#1\ta dog\n"), _read_one(read_captions, "a.token")),
    "captions by photo": (
        _files(a_csv="file_name,caption\n1.jpg,a cat\n"),
        _read_one(lambda path: read_captioned_classes(path, VOC), "a.csv"),
    ),
    "classes by photo": (
        _files(a_csv="file_name,classes\n1.jpg,cat;dog\n"),
        _read_one(lambda path: read_class_table(path, VOC), "a.csv"),
    ),
    "instances": (_files(a_json=json.dumps(_INSTANCES)), _read_one(read_instances, "a.json")),
    "prompts": (_prompts, _read_one(read_prompts, "prompts.jsonl")),
    "published prompts": (
        _files(a_json='[{"filename": "1.jpg", "caption": "a cat; cat", "class_prompt": "cat"}]'),
        _read_one(lambda path: read_prompts(path, VOC), "a.json"),
    ),
    "class names": (_files(a_txt="cat, dog,fox"), _read_one(lambda path: resolve_classes(_text(path)), "a.txt")),
    "class set": (
        _files(a_txt=json.dumps({"name": "own", "names": ["cat", "dog"]})),
        _read_one(lambda path: ClassSet.from_json(_json_or_refused(path)), "a.txt"),
    ),
    "recipe": (
        _files(a_toml='seed = 1\n[label]\nthreshold = 0.6\n[generate]\nmodel = "embedded"\n'),
        _read_one(load_recipe, "a.toml"),
    ),
    "filter rules": (_files(a_txt="presence >= 0.4"), _read_one(lambda path: parse_rule(_text(path)), "a.txt")),
    "reading": (
        lambda folder: model_spec("embedded").resolve_reading("plain").save(folder / "a.json"),
        _read_one(Reading.load, "a.json"),
    ),
    "dataset": (_dataset, _read_dataset),
    "segmenter": (_description, ModelFolder.open),
    "run": (_run, read_contents),
    "diffusion model": (_model_configs, lambda folder: model_spec(str(folder))),
    "photos": (_photos, _read_photos),
    **{f"benchmark {name}": (make, partial(_read_benchmark, name)) for name, (make, _) in FOLDERS.items()},
}
"""Of each kind of folder: what writes one that can be read, and what reads it."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def fuzz(name: str, folder: Path, cases: int, *, bounded: bool = False) -> int:
    """Damage a file of a folder so many times, the same ways each time. Gives the number of cases that were refused.

    Args:
        name: of `READERS`.
        folder: an empty one.
        cases: how many.
        bounded: hold the process to `SECONDS` and `BYTES`, and to writing below the folder; only for a process that
            does nothing else.
    """
    make, read = READERS[name]
    make(folder)
    read(folder)
    whole = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    refused = 0

    @settings(
        max_examples=cases,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def check(data):
        nonlocal refused
        path = data.draw(st.sampled_from(list(whole)))
        path.write_bytes(data.draw(damaged(whole[path])))
        try:
            with _bounds(folder) if bounded else _no_bounds():
                read(folder)
            message = ""
        except DatasetDiffusionError as error:
            message = str(error)
        finally:
            path.write_bytes(whole[path])
        refused += bool(message)
        assert len(message.splitlines()) <= 1
        assert len(message) <= 2_000

    check()
    return refused


@st.composite
def damaged(draw: Any, whole: bytes) -> bytes:
    """Other bytes in the place of some: any, a piece replaced, another value in a JSON file, or nothing at all."""
    try:
        values = json.loads(whole)
    except ValueError:
        values = None
    kind = draw(st.sampled_from(["piece", "piece", "any", "cut", *(["value"] * 3 if values is not None else [])]))
    if kind == "any":
        return draw(st.binary(max_size=200))
    start = draw(st.integers(0, len(whole)))
    if kind == "cut":
        return whole[:start]
    if kind == "value":
        place = draw(st.sampled_from(list(places(values))))
        return json.dumps(replaced(values, place, draw(json_values))).encode()
    stop = draw(st.integers(start, min(len(whole), start + 16)))
    source = draw(st.integers(0, len(whole)))
    piece = draw(st.binary(max_size=8) | st.just(whole[source : source + 16]))
    return whole[:start] + piece + whole[stop:]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values inside a JSON value are."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A JSON value with another one at a place inside it."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


def _json_or_refused(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DatasetDiffusionError("no JSON") from error


class OutOfBounds(BaseException):
    """A case that took too long or wrote where it may not; no reader can catch it by mistake."""


_allowed: Path | None = None
_hooked = False


def _watch(event: str, details: tuple[Any, ...]) -> None:
    if event != "open" or _allowed is None or not isinstance(details[0], str) or not isinstance(details[1], str):
        return
    if set(details[1]) & set("wax+") and not Path(details[0]).resolve().is_relative_to(_allowed):
        raise OutOfBounds(f"wrote {details[0]}")


def _too_long(number: int, frame: object) -> None:
    raise OutOfBounds(f"took over {SECONDS} seconds")


@contextmanager
def _bounds(folder: Path) -> Iterator[None]:
    global _allowed, _hooked  # noqa: PLW0603
    if not _hooked:
        sys.addaudithook(_watch)
        _hooked = True
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    _allowed = folder.resolve()
    try:
        yield
    finally:
        _allowed = None
        signal.alarm(0)


@contextmanager
def _no_bounds() -> Iterator[None]:
    yield
