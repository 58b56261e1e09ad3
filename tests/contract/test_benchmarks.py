"""Every benchmark of the table through one suite."""

import json

import numpy as np
import pytest
from tests.helpers.folders import FOLDERS, seeing_segmenter

from dataset_diffusion.errors import DatasetError, Skipped
from dataset_diffusion.evaluation.scorers.semantic import to_results
from dataset_diffusion.evaluation.scoring import predict_benchmark, read_predictions, score
from dataset_diffusion.evaluation.table import BENCHMARKS, open_benchmark, train_split
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


def save(segmenter, benchmark, folder):
    """Save a segmenter's predictions in the benchmark's own format."""
    for one in predict_benchmark(segmenter, benchmark):
        (folder / f"{one.id}.png").write_bytes(benchmark.task.encode(one.prediction, benchmark.class_set))


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
        assert "/" not in item.id, "a saved prediction is <id>.png"


def test_a_segmenter_that_sees_the_truth_scores_one(benchmark, segmenter):
    predicted = list(predict_benchmark(segmenter, benchmark))
    assert [one.id for one in predicted] == list(benchmark.ids)
    scores = score(predicted, benchmark)
    assert scores.num_images == 2
    assert scores.miou == scores.pixel_accuracy == 1


def test_predictions_are_shown_as_class_ids(benchmark, segmenter):
    for one in predict_benchmark(segmenter, benchmark):
        scored = one.truth != benchmark.class_set.ignore_index
        assert np.array_equal(benchmark.task.to_ids(one.prediction)[scored], one.truth[scored])


def test_saved_predictions_score_as_the_segmenter_does(benchmark, segmenter, tmp_path):
    # Blind to some ids, so that the score is neither 0 nor 1.
    used = FOLDERS[benchmark.name][1]
    segmenter.model.network.bias.data[used[-1]] = -1e6
    scores = score(predict_benchmark(segmenter, benchmark), benchmark)
    save(segmenter, benchmark, tmp_path)
    again = score(read_predictions(tmp_path, benchmark), benchmark)
    assert 0 < scores.miou < 1
    assert to_results(again, benchmark.class_set, {}) == to_results(scores, benchmark.class_set, {})


def test_results_are_json_with_the_promised_keys(benchmark, segmenter):
    scores = score(predict_benchmark(segmenter, benchmark), benchmark)
    results = to_results(scores, benchmark.class_set, {"benchmark": benchmark.name})
    read = json.loads(json.dumps(results, allow_nan=False))
    assert read == results
    assert {"miou", "per_class_iou", "pixel_accuracy", "num_images", "config"} <= set(results)
    assert len(results["classes"]) == len(results["confusion_matrix"])


def test_other_classes_are_refused_unless_classes_do_not_matter(benchmark):
    other = seeing_segmenter(ClassSet.from_names(["cloud", "kite", "bridge"]), (0, 1))
    if benchmark.task.class_agnostic:
        assert score(predict_benchmark(other, benchmark), benchmark).num_images == 2
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
    benchmark, skipped = open_benchmark(name, folder.root), Skipped()
    with pytest.raises(DatasetError, match=f"cannot use .*{file.name}; got the bytes are not an image") as error:
        list(predict_benchmark(segmenter, benchmark))
    one_line(error)
    scores = score(predict_benchmark(segmenter, benchmark, skip_bad=skipped), benchmark)
    assert scores.num_images == 1
    ((image_id, reason),) = skipped.reasons.items()
    assert image_id == next(iter(folder.labels))
    assert file.name in reason


@pytest.mark.parametrize("name", OF_FILES, indirect=True)
def test_files_that_are_missing_are_named_at_once_or_skipped(name, folder, segmenter):
    file = folder.label_file or folder.image_file
    file.unlink()
    with pytest.raises(DatasetError, match=f"a file is missing; got .*{file.name} ") as error:
        open_benchmark(name, folder.root)
    assert one_line(error).endswith("or leave out what is bad with --skip-bad")
    benchmark, skipped = open_benchmark(name, folder.root, check_files=False), Skipped()
    assert len(list(predict_benchmark(segmenter, benchmark, skip_bad=skipped))) == 1
    assert list(skipped.reasons.values()) == [f"cannot read {file}; got No such file or directory"]


def test_predictions_that_cannot_be_used_are_named_or_skipped(benchmark, folder, segmenter, tmp_path):
    save(segmenter, benchmark, tmp_path)
    last = tmp_path / f"{benchmark.ids[-1]}.png"
    last.write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=f"cannot use .*{last.name}; got the bytes are not an image") as error:
        list(read_predictions(tmp_path, benchmark))
    one_line(error)
    last.unlink()
    with pytest.raises(DatasetError, match=f"a file is missing; got .*{last.name} "):
        list(read_predictions(tmp_path, benchmark))
    skipped = Skipped()
    scores = score(read_predictions(tmp_path, benchmark, skip_bad=skipped), benchmark)
    assert list(skipped.reasons) == [benchmark.ids[-1]]
    assert scores.num_images == 1


@pytest.mark.parametrize("name", OF_FILES)
def test_a_folder_must_be_given_and_be_the_benchmarks(name, tmp_path):
    with pytest.raises(
        DatasetError, match=f"the benchmark {name} needs its folder; fix: --root {BENCHMARKS[name].example}"
    ):
        open_benchmark(name)
    with pytest.raises(DatasetError, match=f"not the benchmark's folder; got {tmp_path}.* --root ") as error:
        open_benchmark(name, tmp_path)
    one_line(error)


def test_splits_that_are_not_there_are_told(name, folder):
    with pytest.raises(DatasetError, match="nosplit") as error:
        open_benchmark(name, folder.root, "nosplit")
    one_line(error)


@pytest.mark.parametrize("name", OF_FILES, indirect=True)
def test_the_classes_are_those_of_the_table(name, benchmark):
    assert benchmark.class_set == class_set(BENCHMARKS[name].classes)


def test_photos_have_a_split_to_train_on_and_datasets_none(name, tmp_path):
    assert train_split(name) == (None if name == "scenes" else "train")
    assert train_split(str(tmp_path)) is None


def test_every_benchmark_is_tested():
    assert set(FOLDERS) == set(BENCHMARKS)
