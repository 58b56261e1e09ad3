"""Every benchmark of the table through one suite."""

import json
import os

import numpy as np
import pytest
from benchmark_folders import FOLDERS, seeing_segmenter

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.scorers.semantic import to_results
from dataset_diffusion.evaluation.scoring import evaluate_predictions, evaluate_segmenter, predict_benchmark
from dataset_diffusion.evaluation.table import BENCHMARKS, ROWS, open_benchmark
from dataset_diffusion.prompts.class_sets import ClassSet, class_set

OF_FILES = [name for name in BENCHMARKS if name != "scenes"]


@pytest.fixture(params=BENCHMARKS)
def name(request):
    return request.param


@pytest.fixture
def folder(name, tmp_path):
    make, _ = FOLDERS[name]
    return make(tmp_path / "root")


@pytest.fixture
def benchmark(name, folder):
    return open_benchmark(name, folder.root)


@pytest.fixture
def segmenter(name, benchmark):
    """A segmenter that sees the truth."""
    return seeing_segmenter(benchmark.class_set, FOLDERS[name][1])


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_images_and_labels_are_read(name, folder, benchmark):
    assert benchmark.name == name
    assert sorted(benchmark.ids) == sorted(folder.labels)
    assert benchmark.has_truth
    for item in benchmark:
        assert item.image.dtype == item.label.dtype == np.uint8
        assert np.array_equal(item.label, folder.labels[item.id])
        assert item.image.shape == (*item.label.shape, 3)
        assert f"{item.id}.png" == os.path.basename(f"{item.id}.png")  # noqa: PTH119


def test_a_segmenter_that_sees_the_truth_scores_one(benchmark, segmenter):
    seen = []
    scores = evaluate_segmenter(segmenter, benchmark, on_image=lambda item, prediction: seen.append(item.id))
    assert seen == list(benchmark.ids)
    assert scores.num_images == 2
    assert scores.miou == scores.pixel_accuracy == 1


def test_saved_predictions_score_as_the_segmenter_does(benchmark, segmenter, tmp_path):
    def save(item, prediction):
        (tmp_path / f"{item.id}.png").write_bytes(benchmark.task.encode(prediction, benchmark.class_set))

    # Blind to some ids, so that the score is neither 0 nor 1.
    used = FOLDERS[benchmark.name][1]
    segmenter.model.network.bias.data[used[-1]] = -1e6
    scores = evaluate_segmenter(segmenter, benchmark, on_image=save)
    again = evaluate_predictions(tmp_path, benchmark)
    assert 0 < scores.miou < 1
    assert to_results(again, benchmark.class_set, {}) == to_results(scores, benchmark.class_set, {})


def test_results_are_json_with_the_promised_keys(benchmark, segmenter):
    results = to_results(evaluate_segmenter(segmenter, benchmark), benchmark.class_set, {"benchmark": benchmark.name})
    read = json.loads(json.dumps(results, allow_nan=False))
    assert read == results
    assert {"miou", "per_class_iou", "pixel_accuracy", "num_images", "config"} <= set(results)
    assert len(results["classes"]) == len(results["confusion_matrix"])


def test_other_classes_are_refused_unless_classes_do_not_matter(benchmark):
    other = seeing_segmenter(ClassSet.from_names(["cloud", "kite", "bridge"]), (0, 1))
    if benchmark.task.class_agnostic:
        assert evaluate_segmenter(other, benchmark).num_images == 2
        return
    with pytest.raises(
        DatasetError, match=f"benchmark {benchmark.name} have different classes; got cloud, kite, "
    ) as error:
        list(predict_benchmark(other, benchmark))
    one_line(error)


@pytest.mark.parametrize("name", OF_FILES, indirect=True)
@pytest.mark.parametrize("which", ["image_file", "label_file"])
def test_files_that_cannot_be_used_are_named_or_skipped(name, folder, segmenter, which):
    file = getattr(folder, which)
    if file is None:
        pytest.skip("label maps are not files of their own")
    file.write_bytes(file.read_bytes()[:-30])
    benchmark, skipped = open_benchmark(name, folder.root), []
    with pytest.raises(DatasetError, match=f"cannot use .*{file.name}; got the bytes are not an image") as error:
        evaluate_segmenter(segmenter, benchmark)
    one_line(error)
    scores = evaluate_segmenter(segmenter, benchmark, on_bad=lambda image_id, error: skipped.append((image_id, error)))
    assert scores.num_images == 1
    ((image_id, reason),) = skipped
    assert image_id == next(iter(folder.labels))
    assert file.name in str(reason)


@pytest.mark.parametrize("name", OF_FILES, indirect=True)
def test_files_that_are_missing_are_named_at_once_or_skipped(name, folder, segmenter):
    file = folder.label_file or folder.image_file
    file.unlink()
    with pytest.raises(DatasetError, match=f"a file is missing; got .*{file.name} ") as error:
        open_benchmark(name, folder.root)
    assert one_line(error).endswith("or leave out what is bad with --skip-bad")
    benchmark, skipped = open_benchmark(name, folder.root, check_files=False), []
    evaluate_segmenter(segmenter, benchmark, on_bad=lambda image_id, error: skipped.append(str(error)))
    assert skipped == [f"cannot read {file}; got No such file or directory"]


def test_predictions_that_cannot_be_used_are_named_or_skipped(benchmark, folder, segmenter, tmp_path):
    for item, prediction in predict_benchmark(segmenter, benchmark):
        (tmp_path / f"{item.id}.png").write_bytes(benchmark.task.encode(prediction, benchmark.class_set))
    last = tmp_path / f"{benchmark.ids[-1]}.png"
    last.write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=f"cannot use .*{last.name}; got the bytes are not an image") as error:
        evaluate_predictions(tmp_path, benchmark)
    one_line(error)
    last.unlink()
    with pytest.raises(DatasetError, match=f"a file is missing; got .*{last.name} "):
        evaluate_predictions(tmp_path, benchmark)
    skipped = []
    scores = evaluate_predictions(tmp_path, benchmark, on_bad=lambda image_id, error: skipped.append(image_id))
    assert skipped == [benchmark.ids[-1]]
    assert scores.num_images == 1


@pytest.mark.parametrize("name", ROWS)
def test_a_folder_must_be_given_and_be_the_benchmarks(name, tmp_path):
    with pytest.raises(DatasetError, match=f"the benchmark {name} needs its folder; fix: --root {ROWS[name].example}"):
        open_benchmark(name)
    with pytest.raises(DatasetError, match=f"not the benchmark's folder; got {tmp_path}.* --root ") as error:
        open_benchmark(name, tmp_path)
    one_line(error)


def test_splits_that_are_not_there_are_told(name, folder):
    with pytest.raises(DatasetError, match="nosplit") as error:
        open_benchmark(name, folder.root, "nosplit")
    one_line(error)


@pytest.mark.parametrize("name", ROWS)
def test_the_table_names_a_class_set(name):
    assert class_set(ROWS[name].classes).num_classes > 0


def test_every_benchmark_is_tested():
    assert set(FOLDERS) == set(BENCHMARKS)
