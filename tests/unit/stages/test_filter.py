import json
import shutil

import numpy as np
import pytest
from tests.helpers import factories
from tests.helpers.factories import write_dataset
from tests.helpers.processes import files_of, last_line, refuse, succeed, times_of

from dataset_diffusion.dataset.decisions import Decision, Decisions, pictures_hash
from dataset_diffusion.dataset.filtering.image_text import load_image_text
from dataset_diffusion.dataset.provenance import FilterStep, Provenance
from dataset_diffusion.dataset.schema import shard_bytes
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.prompts.class_sets import class_set

# Of 13 samples in shards of 4, those whose index is no multiple of 3 have much foreground; 5 and 7 are uncertain.
KEPT = (1, 2, 4, 8, 10, 11)
RULES = ("--rule", "foreground >= 0.5", "--rule", "uncertain < 0.5")
PRINTED = "foreground >= 0.5: dropped 5\nuncertain < 0.5: dropped 2\nkept 6 of 13 images in {}\n"


def make_sample(index):
    return factories.make_sample(
        index,
        seed=1000 + index,
        text=f"cat number {index}; cat",
        classes=(5,),
        words=("cat",),
        quality={"foreground": 0.5 if index % 3 else 0.2, "uncertain": 0.9 if index in {5, 7} else 0.1},
    )


@pytest.fixture
def source(tmp_path):
    fields = {"num_samples": 13, "shard_size": 4, "image_format": "jpeg", "provenance": Provenance(seed=3)}
    return write_dataset(tmp_path / "source", make_sample, class_set("emoji"), **fields)


@pytest.fixture
def clip(tmp_path):
    """Folder of a small CLIP model."""
    from tests.helpers.tiny_clip import save_tiny_clip  # here, since transformers take their time

    save_tiny_clip(tmp_path / "clip")
    return tmp_path / "clip"


def test_kept_samples_are_numbered_anew_and_otherwise_the_same(source, tmp_path):
    before = files_of(source.path)
    out = tmp_path / "out"
    assert succeed("filter", source.path, *RULES, "--out", out) == PRINTED.format(out)
    store = DatasetStore.open(out)
    assert store.verify() == []
    assert [sample.seed - 1000 for sample in store] == list(KEPT)
    for number, index in enumerate(KEPT):
        got, was = store[number], source[index]
        assert (got.prompt.index, got.prompt.text, got.quality) == (number, was.prompt.text, was.quality)
        np.testing.assert_array_equal(got.image, was.image)
        np.testing.assert_array_equal(got.label, was.label)
    assert files_of(source.path) == before


def test_pictures_are_copied_byte_for_byte_under_their_new_names(source, tmp_path):
    succeed("filter", source.path, *RULES, "--out", tmp_path / "out")
    rows = list(DatasetStore.open(tmp_path / "out").read_shard(1, ("image", "label")))
    was = list(source.read_shard(2, ("image",)))[2]
    assert rows[0]["image"] == {"bytes": was["image"]["bytes"], "path": "00000004.jpg"}
    assert rows[0]["label"]["path"] == "00000004.png"


def test_the_manifest_says_where_the_samples_are_from(source, tmp_path):
    succeed("filter", source.path, *RULES, "--out", tmp_path / "out")
    succeed("filter", tmp_path / "out", "--rule", "uncertain <= 0.1", "--out", tmp_path / "again")
    first, second = (DatasetStore.open(tmp_path / name).manifest for name in ("out", "again"))
    step = FilterStep(
        rules=("foreground >= 0.5", "uncertain < 0.5"),
        num_samples=13,
        config_hash=source.manifest.config_hash,
        dropped=(5, 2),
    )
    assert first.provenance == Provenance(seed=3, filter=(step,))
    again = FilterStep(rules=("uncertain <= 0.1",), num_samples=6, config_hash=first.config_hash, dropped=(0,))
    assert second.provenance.filter == (step, again)


def test_the_same_command_again_writes_what_is_missing(source, tmp_path):
    out = tmp_path / "out"
    succeed("filter", source.path, *RULES, "--out", out)
    files, times = files_of(out), times_of(out)
    DatasetStore.open(out).shard_path(1).unlink()
    assert succeed("filter", source.path, *RULES, "--out", out) == PRINTED.format(out)
    assert files_of(out) == files
    assert times_of(out)["shards/00000.parquet"] == times["shards/00000.parquet"]


def test_a_dataset_of_version_0_1_0_does_not_say_what_was_dropped_and_goes_on(source, tmp_path):
    out = tmp_path / "out"
    succeed("filter", source.path, *RULES, "--out", out)
    store = DatasetStore.open(out)
    for shard in range(store.manifest.num_shards):
        store.shard_path(shard).write_bytes(shard_bytes(store.read_table(shard), 1))
    values = json.loads((out / "dataset.json").read_text())
    recorded = values.pop("provenance")
    step = {name: recorded["filter"][0][name] for name in ("rules", "num_samples", "config_hash")}
    values |= {"schema_version": 1, "config": {"seed": recorded["seed"], "filter": [step]}}
    (out / "dataset.json").write_text(json.dumps(values))
    files = files_of(out)
    for missing in ([], [1], [0, 1]):
        for shard in missing:
            DatasetStore.open(out).shard_path(shard).unlink()
        assert succeed("filter", source.path, *RULES, "--out", out) == f"kept 6 of 13 images in {out}\n"
        assert files_of(out) == files


def test_rules_that_nothing_passes_are_refused(source, tmp_path):
    assert last_line("filter", source.path, "--rule", "foreground > 0.9", "--out", tmp_path / "out") == (
        "no sample passes the rules; got foreground > 0.9; fix: use looser rules"
    )
    assert not (tmp_path / "out").exists()


def test_other_rules_into_the_same_folder_are_refused(source, tmp_path):
    succeed("filter", source.path, *RULES, "--out", tmp_path / "out")
    message = last_line("filter", source.path, "--rule", "foreground > 0.1", "--out", tmp_path / "out")
    assert message.startswith(f"{tmp_path / 'out'} holds a dataset of another configuration; got ")


@pytest.mark.slow
def test_images_that_fit_their_captions_are_kept(source, clip, tmp_path):
    captions = [f"cat number {index}" for index in range(len(source))]
    scores = load_image_text(str(clip)).score([sample.image for sample in source], captions)
    middle = (np.sort(scores)[6] + np.sort(scores)[7]) / 2
    assert middle > 0.01
    out = tmp_path / "out"
    rule = f"image_text >= {middle:.6f}"
    printed = succeed("filter", source.path, "--rule", rule, "--image-text", clip, "--out", out)
    assert printed.endswith(f": dropped 7\nkept 6 of 13 images in {out}\n")
    kept = [sample.seed - 1000 for sample in DatasetStore.open(out)]
    assert kept == np.flatnonzero(scores > middle).tolist()
    assert DatasetStore.open(out).manifest.provenance.filter[0].image_text == str(clip)


@pytest.mark.slow
def test_a_finished_dataset_is_found_without_asking_the_model_again(source, clip, tmp_path):
    out = tmp_path / "out"
    words = ("filter", source.path, "--rule", "image_text > -1", "--image-text", clip, "--out", out)
    printed = succeed(*words)
    before = times_of(out)
    shutil.rmtree(clip)
    assert succeed(*words) == printed == f"image_text > -1: dropped 0\nkept 13 of 13 images in {out}\n"
    assert times_of(out) == before
    DatasetStore.open(out).shard_path(1).unlink()
    assert str(clip) in last_line(*words)


def test_other_rules_are_refused_without_asking_the_model(source, tmp_path):
    out = tmp_path / "out"
    succeed("filter", source.path, *RULES, "--out", out)
    words = ("--rule", "image_text > 0", "--image-text", tmp_path / "no-model")
    message = refuse("filter", source.path, *words, "--out", out)
    assert message.startswith(f"{out} holds a dataset of another configuration; got ")


def test_a_model_that_cannot_be_loaded_is_one_line(source, tmp_path):
    (tmp_path / "clip").mkdir()
    message = last_line(
        "filter", source.path, "--rule", "image_text > 0", "--image-text", tmp_path / "clip", "--out", tmp_path / "out"
    )
    assert message.startswith(f"not a CLIP model; got {tmp_path / 'clip'}: ")


def test_no_rule_is_refused(source, tmp_path):
    assert refuse("filter", source.path, "--out", tmp_path / "out") == (
        'nothing to filter by; expected --decisions or a --rule such as "presence >= 0.4"'
    )


def test_an_unfinished_dataset_is_refused(source, tmp_path):
    source.shard_path(2).unlink()
    assert refuse("filter", source.path, *RULES, "--out", tmp_path / "out") == (
        f"the dataset is not finished; got {source.path} lacks 1 of 4 shards; fix: run the command that began it again"
    )


def drop_by_hand(source, *indices):
    """Decisions that drop samples, beside the dataset."""
    decided = {f"{index:08d}": Decision(keep=False) for index in indices}
    path = source.path.parent / "decisions.json"
    Decisions(pictures=pictures_hash(source.manifest), samples=decided).save(path)
    return path


def test_what_was_dropped_by_hand_is_left_out_beside_the_rules(tmp_path, source):
    decisions = drop_by_hand(source, 2, 3)
    words = ("filter", source.path, *RULES, "--decisions", decisions, "--out", tmp_path / "out")
    printed = succeed(*words)
    assert "dropped by hand" in printed
    assert ": dropped 2\nkept 5 of 13 images" in printed
    store = DatasetStore.open(tmp_path / "out")
    assert [sample.seed - 1000 for sample in store] == [index for index in KEPT if index != 2]
    before = times_of(tmp_path / "out")
    succeed(*words)
    assert times_of(tmp_path / "out") == before
    drop_by_hand(source, 2, 4)
    assert "holds a dataset of another configuration" in refuse(*words)


def test_decisions_alone_are_enough(tmp_path, source):
    succeed("filter", source.path, "--decisions", drop_by_hand(source, 0, 12), "--out", tmp_path / "out")
    assert [sample.seed - 1000 for sample in DatasetStore.open(tmp_path / "out")] == list(range(1, 12))
    again = refuse("filter", tmp_path / "out", "--decisions", source.path.parent, "--out", tmp_path / "twice")
    assert "is about other pictures" in again


def test_dropping_everything_leaves_no_dataset(tmp_path, source):
    decisions = drop_by_hand(source, *range(13))
    said = last_line("filter", source.path, "--decisions", decisions, "--out", tmp_path / "out")
    assert "all were dropped by hand" in said
