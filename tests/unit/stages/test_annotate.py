import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.helpers.processes import files_of, refuse, succeed, times_of
from tests.helpers.tiny_captioner import save_tiny_captioner

from dataset_diffusion.config import AnnotateSettings, LabelOptions
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.load import load_model
from dataset_diffusion.errors import ConfigError, DatasetError, PromptError, Skipped
from dataset_diffusion.evaluation.readers.scenes import SCENES
from dataset_diffusion.labelling.sample import label_generation
from dataset_diffusion.prompts.captions import remove_class_prompt
from dataset_diffusion.records import Generation
from dataset_diffusion.seeding import sample_seed
from dataset_diffusion.stages.annotate import CAPTIONS, PRESENCE, TABLE, annotate

pytestmark = pytest.mark.slow

LABEL = LabelOptions(exponent=1, threshold=0.4, uncertainty_threshold=0.4)
NUM_SCENES = 5


@pytest.fixture(scope="module")
def scenes():
    store = DatasetStore.open(SCENES)
    return [store[index] for index in range(NUM_SCENES)]


@pytest.fixture
def photos(tmp_path, scenes):
    """A folder of scenes as photos, ``a.png``, ``b.png``, …"""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, scene in zip("abcde", scenes, strict=True):
        Image.fromarray(scene.image).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def captions(tmp_path, scenes):
    said = [remove_class_prompt(scene.prompt.text, scene.prompt.class_prompt) for scene in scenes]
    with (tmp_path / "captions.csv").open("w") as file:
        csv.writer(file).writerows([("file_name", "caption"), *zip(names_of("abcde"), said, strict=True)])
    return tmp_path / "captions.csv"


def names_of(letters):
    return [f"{letter}.png" for letter in letters]


def run(photos, out, *, skip_bad=None, **settings):
    return annotate(photos, AnnotateSettings(**settings), out, label=LABEL, seed=3, skip_bad=skip_bad)


def shown(store):
    with (store.path / TABLE).open(newline="") as file:
        return [(row["file_name"], row["classes"]) for row in csv.DictReader(file)]


def test_scenes_as_photos_get_the_labels_that_attend_gives_them(tmp_path, photos, captions, scenes):
    store = run(photos, tmp_path / "out", captions=captions)
    model = load_model("embedded")
    reading = model.spec.resolve_reading()
    label = LABEL.resolve(reading.label)
    seeds = [sample_seed(3, index) for index in range(NUM_SCENES)]
    prompts = [replace(scene.prompt, index=index) for index, scene in enumerate(scenes)]
    maps = model.attend([scene.image for scene in scenes], prompts, seeds, reading)
    for index, (scene, attention) in enumerate(zip(scenes, maps, strict=True)):
        expected = label_generation(prompts[index], seeds[index], Generation(scene.image, attention), label)
        np.testing.assert_array_equal(store[index].image, scene.image)
        np.testing.assert_array_equal(store[index].label, expected.label)
        assert store[index].prompt == prompts[index]
        assert store[index].quality == expected.quality
    assert store.verify() == []
    assert [name for name, _ in shown(store)] == names_of("abcde")


def test_the_same_call_again_writes_nothing_and_a_lost_shard_comes_back(tmp_path, photos, captions):
    store = run(photos, tmp_path / "out", captions=captions, shard_size=2)
    before, times = files_of(store.path), times_of(store.path)
    run(photos, store.path, captions=captions, shard_size=2)
    assert times_of(store.path) == times
    store.shard_path(1).unlink()
    run(photos, store.path, captions=captions, shard_size=2)
    assert files_of(store.path) == before


def test_a_dataset_of_other_photos_or_settings_is_left_alone(tmp_path, photos, captions):
    out = run(photos, tmp_path / "out", captions=captions).path
    before = files_of(out)
    with pytest.raises(DatasetError, match=r"holds a dataset of another configuration; got .*classes_from: presence"):
        run(photos, out)
    captions.write_text("file_name,caption\na.png,a cat\n")
    with pytest.raises(DatasetError, match=r"holds a dataset of another configuration; got .*num_samples: 1"):
        run(photos, out, captions=captions)
    (photos / "b.png").unlink()
    with pytest.raises(DatasetError, match=r"holds a dataset of another configuration; got .*photos\.sha256"):
        run(photos, out, captions=captions)
    assert files_of(out) == before


def test_photos_of_any_size_are_labelled_upright_at_their_own_size(tmp_path, photos, captions, scenes):
    for name in names_of("bcde"):
        (photos / name).unlink()
    turned = Image.fromarray(scenes[0].image).resize((150, 90))
    exif = turned.getexif()
    exif[0x0112] = 6  # turn it by a quarter to see it upright
    turned.save(photos / "b.JPG", exif=exif)
    large = Image.fromarray(scenes[0].image).resize((300, 261))
    large.save(photos / "c.tif")
    names = tmp_path / "names.csv"
    names.write_text("file_name,classes\na.png,cat\nb.JPG,bus;cat\nc.tif,dog\n")
    store = run(photos, tmp_path / "out", names=names, image_format="jpeg")
    assert [sample.label.shape for sample in store] == [(128, 128), (150, 90), (261, 300)]
    assert [sample.heatmaps.values.shape[2:] for sample in store] == [(16, 16), (21, 12), (30, 34)]
    assert shown(store) == [("a.png", "cat"), ("b.JPG", "bus;cat"), ("c.tif", "dog")]
    assert store[1].prompt.text == "a photo; bus cat"
    assert store.verify() == []


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path, photos, captions):
    (photos / "c.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"^a photo cannot be read; got .*c\.png: "):
        run(photos, tmp_path / "out", captions=captions)
    captions.write_text(captions.read_text().replace("b.png,", "b.png,a cat and " + "very " * 60))
    skipped = Skipped()
    store = run(photos, tmp_path / "out", captions=captions, skip_bad=skipped)
    assert list(skipped.reasons) == ["c.png", "b.png"]
    assert "longer than the tokenizer's limit" in skipped.reasons["b.png"]
    assert [name for name, _ in shown(store)] == names_of("ade")
    times = times_of(store.path)
    run(photos, tmp_path / "out", captions=captions)  # the dataset says what it left out
    assert times_of(store.path) == times


def test_photos_without_a_class_are_told_and_left_out(tmp_path, photos, capsys):
    names = tmp_path / "names.csv"
    names.write_text("file_name,classes\nb.png,cat\nc.png,\n")
    assert shown(run(photos, tmp_path / "out", names=names)) == [("b.png", "cat")]
    told = capsys.readouterr().err
    assert "left out 4 files that show none of the classes in " in told
    assert "a.png, c.png, d.png, e.png" in told
    names.write_text("file_name,classes\nc.png,\n")
    with pytest.raises(
        PromptError, match=r"^no photo shows a class; got 5 photos in .*, classes from names; expected "
    ):
        run(photos, tmp_path / "other", names=names)


def test_folders_that_are_named_as_classes_say_them(tmp_path, photos):
    for name, folder in zip("ab", ("cat", "Potted_Plant"), strict=True):
        (photos / folder).mkdir()
        (photos / f"{name}.png").rename(photos / folder / "1.png")
    for name in "cde":
        (photos / f"{name}.png").unlink()
    store = run(photos, tmp_path / "out")
    assert store.manifest.provenance.photos.classes_from == "folders"
    assert shown(store) == [("Potted_Plant/1.png", "potted plant"), ("cat/1.png", "cat")]


def test_presence_finds_classes_once(tmp_path, photos):
    found = run(photos, tmp_path / "out", presence_threshold=1.0)
    rows = [json.loads(line) for line in (tmp_path / "out" / PRESENCE).read_text().splitlines()]
    scores = np.array([list(map(float, row["caption"].split())) for row in rows])
    assert scores.shape == (NUM_SCENES, 12)
    above = scores - np.median(scores, axis=0)
    expected = above / np.median(np.abs(above), axis=0) >= 1
    classes = [set(prompt.classes) for prompt in (sample.prompt for sample in found)]
    assert classes == [set(np.flatnonzero(row) + 1) for row in expected if row.any()]
    times = times_of(tmp_path / "out")
    run(photos, tmp_path / "out", presence_threshold=1.0)
    assert times_of(tmp_path / "out") == times


def test_a_captioner_says_what_photos_show(tmp_path, photos):
    save_tiny_captioner(tmp_path / "captioner", seed=9)
    classes = ("cat", "dog", "bus", "snow", "road", "photo")
    settings = {"classes_from": "captioner", "captioner": str(tmp_path / "captioner"), "classes": classes}
    skipped = Skipped()  # what so small a captioner says can be too long
    store = run(photos, tmp_path / "out", skip_bad=skipped, **settings)
    assert len(store) > 0
    said = [json.loads(line)["caption"] for line in (tmp_path / "out" / CAPTIONS).read_text().splitlines()]
    assert len(said) == NUM_SCENES
    assert {remove_class_prompt(one.prompt.text, one.prompt.class_prompt) for one in store} <= set(said)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--classes-from", "captions"), "--captions; expected a file, for --classes-from captions"),
        (("--classes-from", "folders", "--names", "x"), "--names; got x; expected --classes-from names, not folders"),
        (("--captions", "x", "--names", "y"), "--names; got y; expected --captions or --names, not both"),
    ],
)
def test_files_that_do_not_fit_their_source_are_refused(tmp_path, options, message):
    refused = refuse("annotate", tmp_path, "--out", tmp_path / "out", *options)
    assert refused == f"bad value of {message}"


def test_the_command(tmp_path, photos, captions):
    out = tmp_path / "out"
    words = ("annotate", photos, "--captions", captions, "--out", out, "--exponent", 1)
    assert succeed(*words) == f"{NUM_SCENES} labelled photos in {out}, listed in {out / TABLE}\n"
    assert refuse("annotate", tmp_path / "none", "--out", out).startswith("no photos in the folder; got ")
    assert refuse("relabel", out, "--reading", "published", "--out", tmp_path / "again") == (
        f"given photos are not read again from their dataset; got {out}; "
        "fix: dataset-diffusion annotate with the other --reading and --out"
    )
    with pytest.raises(ConfigError):
        run(photos, out, captions=captions, reading="none.json")
