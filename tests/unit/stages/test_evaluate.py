import json
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
from PIL import Image
from tests.helpers.folders import cityscapes_folder, dis5k_folder, seeing_segmenter, voc_folder
from tests.helpers.processes import last_line, refuse, run_command, succeed
from torch import nn

from dataset_diffusion.config import EvaluateSettings, TrainSettings
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.evaluation.examples import MAX_EXAMPLES, read_examples
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.run_folder import RunFolder
from dataset_diffusion.segmentation import models
from dataset_diffusion.segmentation.model_folder import Identity, save_segmenter
from dataset_diffusion.stages.evaluate import evaluate, open_chosen

pytestmark = pytest.mark.slow


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A function that saves a segmenter that sees the truth."""
    monkeypatch.setitem(models.SEGMENTERS, "seeing", lambda num_classes, pretrained: nn.Conv2d(3, num_classes, 1))

    def save(classes, used):
        segmenter, folder = seeing_segmenter(class_set(classes), used), tmp_path / "model"
        settings = TrainSettings(segmenter="seeing")
        save_segmenter(segmenter.model, Identity(segmenter.class_set, settings, 0, 1, ""), folder)
        return folder

    (tmp_path / "model").mkdir()
    return save


@pytest.fixture
def voc(tmp_path):
    return voc_folder(tmp_path / "VOC2012")


def test_a_model_is_scored_and_its_predictions_are_saved(model, voc, tmp_path):
    out, saved = tmp_path / "results.json", tmp_path / "predictions"
    options = ["--benchmark", "voc2012", "--root", voc.root, "--out", out]
    printed = succeed("evaluate", model("voc", (0, 3, 15)), *options, "--save-predictions", saved)
    assert printed.splitlines()[0] == f"2 predictions in {saved}"
    assert "mIoU 100.0% over 2 images" in printed
    results = json.loads(out.read_text())
    assert results["miou"] == 1
    assert results["config"]["benchmark"] == "voc2012"
    assert "skipped" not in results
    for image_id in voc.labels:
        picture = Image.open(saved / f"{image_id}.png")
        assert picture.mode == "P"
        assert picture.getpalette()[9:12] == list(class_set("voc").palette[3])
    succeed("evaluate", "--predictions", saved, *options[:-1], tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == results


def test_views_are_options_and_part_of_the_results(model, voc, tmp_path):
    out = tmp_path / "results.json"
    views = ["--tta", "--scales", 1, 2, "--short-side", 48, "--sliding-window", 30, "--stride", 20, "--batch-size", 1]
    succeed("evaluate", model("voc", (0, 3, 15)), "--benchmark", "voc2012", "--root", voc.root, "--out", out, *views)
    results = json.loads(out.read_text())
    assert results["config"] == EvaluateSettings(
        benchmark="voc2012",
        root=voc.root,
        tta=True,
        scales=(1, 2),
        short_side=48,
        sliding_window=30,
        stride=20,
        batch_size=1,
    ).model_dump(mode="json")
    assert 0.9 < results["miou"] < 1  # borders are blurred by the scaling


def test_bad_files_end_the_command_or_are_skipped_and_listed(model, voc, tmp_path):
    out, folder = tmp_path / "results.json", model("voc", (0, 3, 15))
    voc.image_file.write_bytes(voc.image_file.read_bytes()[:200])
    command = ["evaluate", folder, "--benchmark", "voc2012", "--root", voc.root, "--out", out]
    message = refuse(*command)
    assert message.startswith(f"cannot use {voc.image_file}; got the bytes are not an image; got ")
    assert not out.exists()
    outcome = run_command(*command, "--skip-bad")
    assert outcome.status == 0
    assert outcome.err.splitlines()[-2:] == [f"skipped 2007_000032: {message}", "skipped 1 images in all"]
    results = json.loads(out.read_text())
    assert (results["num_images"], results["num_skipped"]) == (1, 1)
    assert results["skipped"] == {"2007_000032": message}


def test_bad_predictions_are_skipped_and_listed(voc, tmp_path):
    out = tmp_path / "results.json"
    image_id = "2008_000007"
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(tmp_path / f"{image_id}.png")
    options = ["--benchmark", "voc2012", "--root", voc.root, "--out", out]
    assert refuse("evaluate", "--predictions", tmp_path, *options).startswith("a file is missing; got ")
    outcome = run_command("evaluate", "--predictions", tmp_path, *options, "--skip-bad")
    assert "skipped 2007_000032: cannot read " in outcome.err
    assert json.loads(out.read_text())["num_skipped"] == 1


def test_a_folder_of_which_no_file_can_be_used_is_refused(voc, tmp_path):
    options = ["--benchmark", "voc2012", "--root", voc.root, "--out", tmp_path / "results.json", "--skip-bad"]
    message = last_line("evaluate", "--predictions", tmp_path, *options)
    assert message.startswith("no image can be used; got 2, the last with: cannot read ")


def test_nothing_skipped_is_said_too(model, voc, tmp_path):
    out = tmp_path / "results.json"
    command = ["evaluate", model("voc", (0, 3, 15)), "--benchmark", "voc2012", "--root", voc.root, "--out", out]
    assert "skipped" not in run_command(*command, "--skip-bad").err
    assert json.loads(out.read_text())["num_skipped"] == 0


def test_the_test_split_is_saved_for_the_server(model, voc, tmp_path):
    out, saved = tmp_path / "results.json", tmp_path / "comp6_test_cls"
    command = ["evaluate", model("voc", (0, 3, 15)), "--benchmark", "voc2012", "--root", voc.root]
    command += ["--split", "test", "--out", out]
    assert refuse(*command).startswith("the labels of this split of voc2012 are not public; ")
    saved.mkdir()
    (saved / ".2008_000007.png.0badcafe.tmp").write_bytes(b"half")  # as a kill leaves it
    assert succeed(*command, "--save-predictions", saved) == f"1 predictions in {saved}\n"
    assert [path.name for path in saved.iterdir()] == ["2008_000007.png"]
    assert not out.exists()


def test_cityscapes_predictions_are_saved_in_original_ids(model, tmp_path):
    folder, saved = cityscapes_folder(tmp_path / "cityscapes"), tmp_path / "predictions"
    command = ["evaluate", model("cityscapes", (1, 14, 19)), "--benchmark", "cityscapes", "--root", folder.root]
    succeed(*command, "--out", tmp_path / "r.json", "--save-predictions", saved)
    ids = np.unique(np.array(Image.open(saved / "frankfurt_000000_000294.png")))
    assert set(ids) <= {7, 26, 33}  # road, car, bicycle


def test_what_a_benchmark_measures_beside_is_printed(model, tmp_path):
    folder = dis5k_folder(tmp_path / "DIS5K")
    command = ["evaluate", model("voc", (0, 3)), "--benchmark", "dis5k", "--root", folder.root]
    printed = succeed(*command, "--out", tmp_path / "r.json").splitlines()
    assert "s_alpha 1.0000" in printed
    assert "mae 0.0000" in printed


def test_predictions_cannot_be_saved_from_predictions(voc, tmp_path):
    options = ["--predictions", tmp_path, "--save-predictions", tmp_path / "p"]
    assert refuse("evaluate", *options) == f"--save-predictions needs a model; got --predictions {tmp_path}"


@pytest.mark.parametrize(("place", "reason"), [("folder", "Is a directory"), ("folder/file/results.json", "")])
def test_a_place_that_cannot_be_written_costs_no_evaluation(model, voc, tmp_path, place, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("")
    out, saved = tmp_path / place, tmp_path / "predictions"
    options = ["--benchmark", "voc2012", "--root", voc.root, "--out", out]
    told = refuse("evaluate", model("voc", (0, 3, 15)), *options, "--save-predictions", saved)
    assert told.startswith(f"cannot write {out}; got {reason}")
    assert not saved.exists()
    assert refuse("evaluate", "--predictions", tmp_path / "none", *options) == told


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that takes no file")
def test_a_folder_that_takes_no_file_costs_no_evaluation(model, voc, tmp_path):
    out, saved = Path("/proc/self/results.json"), tmp_path / "predictions"
    options = ["--benchmark", "voc2012", "--root", voc.root, "--out", out, "--save-predictions", saved]
    assert refuse("evaluate", model("voc", (0, 3, 15)), *options).startswith(f"cannot write {out}; got ")
    assert not saved.exists()


def test_no_benchmark():
    with pytest.raises(ConfigError, match="no benchmark to evaluate on; fix: --benchmark with a name or "):
        open_chosen(EvaluateSettings(benchmark="none"))


@pytest.fixture
def run(tmp_path):
    """A run that is to be evaluated."""
    folder = RunFolder(tmp_path / "run")
    folder.dataset.mkdir(parents=True)
    return folder


def test_a_run_keeps_examples_of_its_predictions(model, voc, run):
    settings = EvaluateSettings(benchmark="voc2012", root=voc.root)
    evaluate(model("voc", (0, 3, 15)), settings, run.results)
    examples = read_examples(run.examples)
    assert len(examples) == 2
    for item, example in zip(open_chosen(settings), examples, strict=True):
        assert np.array_equal(example.image, item.image)
        assert np.array_equal(example.truth, item.label)
        scored = item.label != 255
        assert np.array_equal(example.prediction[scored], item.label[scored])
    assert run.examples.stat().st_mtime_ns <= run.results.stat().st_mtime_ns


def test_examples_are_few_and_spread(model, voc, run):
    names = [f"copy{number:02d}" for number in range(2 * MAX_EXAMPLES)]
    for number, name in enumerate(names):
        copy(voc.label_file, voc.label_file.with_stem(name))
        picture = np.array(Image.open(voc.image_file))
        picture[:, -1, 0] = number
        Image.fromarray(picture).save(voc.image_file.with_stem(name), quality=100, subsampling="4:4:4")
    (voc.root / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(names))
    settings = EvaluateSettings(benchmark="voc2012", root=voc.root)
    evaluate(model("voc", (0, 3, 15)), settings, run.results)
    images = [item.image for item in open_chosen(settings)]
    kept = [example.image for example in read_examples(run.examples)]
    places = [next(place for place, image in enumerate(images) if np.array_equal(image, one)) for one in kept]
    assert len(places) == MAX_EXAMPLES
    assert (places[0], places[-1]) == (0, len(names) - 1)
    assert set(np.diff(places)) == {2, 3}


def test_a_folder_that_is_no_run_keeps_no_examples(model, voc, tmp_path):
    out = tmp_path / "scores" / "results.json"
    evaluate(model("voc", (0, 3, 15)), EvaluateSettings(benchmark="voc2012", root=voc.root), out)
    assert [path.name for path in out.parent.iterdir()] == ["results.json"]


def test_only_a_benchmark_of_the_segmenters_classes_has_examples(model, voc, run, tmp_path):
    folder, trained = dis5k_folder(tmp_path / "DIS5K"), model("voc", (0, 3, 15))
    evaluate(trained, EvaluateSettings(benchmark="voc-discovery", root=voc.root), run.results)
    assert len(read_examples(run.examples)) == 2
    # Those of the results before must not be shown beside other scores.
    evaluate(trained, EvaluateSettings(benchmark="dis5k", root=folder.root), run.results)
    assert not run.examples.exists()


def test_foreground_is_shown_as_a_class(model, run, tmp_path):
    folder = dis5k_folder(tmp_path / "DIS5K")
    evaluate(model("dis5k", (0, 1)), EvaluateSettings(benchmark="dis5k", root=folder.root), run.results)
    for example, label in zip(read_examples(run.examples), folder.labels.values(), strict=True):
        assert np.array_equal(example.prediction, label)


def test_results_are_written_whole_into_folders_that_are_made(model, voc, tmp_path):
    out = tmp_path / "some" / "folder" / "results.json"
    results = evaluate(model("voc", (0, 3, 15)), EvaluateSettings(benchmark="voc2012", root=voc.root), out)
    assert json.loads(out.read_text()) == results
    assert [path.name for path in out.parent.iterdir()] == ["results.json"]
