import numpy as np
import pytest

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.examples import MAX_EXAMPLES, Example
from dataset_diffusion.report.figures import colored_heatmap, photo_uri
from dataset_diffusion.report.gallery import MAX_SAMPLES, example_rows, sample_rows


def test_samples_are_spread_from_the_first_to_the_last(tmp_path, make_dataset):
    rows = list(sample_rows([make_dataset(tmp_path / "data", num_samples=70, shard_size=64)], 4))
    numbers = [int(row.facts[0].removeprefix("sample ")) for row in rows]
    assert len(numbers) == MAX_SAMPLES
    assert (numbers[0], numbers[-1]) == (0, 69)
    assert set(np.diff(numbers)) == {3}


def test_only_samples_that_are_there_are_shown(tmp_path, make_dataset):
    rows = sample_rows([make_dataset(tmp_path / "data", shards=[0, 2])], 4)
    assert [row.facts[0] for row in rows] == ["sample 0", "sample 1", "sample 4"]
    assert not list(sample_rows([make_dataset(tmp_path / "none", shards=[])], 4))


@pytest.mark.parametrize(("exponent", "value"), [(0, 0.0), (4, 1.0), (2, 1.0), (None, 1.0)])
def test_the_heatmaps_of_the_exponent_are_shown(tmp_path, make_dataset, exponent, value):
    row = next(sample_rows([make_dataset(tmp_path / "data")], exponent))
    (heatmap,) = row.heatmaps
    assert heatmap.name == "forklift"
    assert heatmap.uri == photo_uri(colored_heatmap(np.full((4, 6), value, np.float16), (16, 24)))


def test_a_row_says_what_it_shows(tmp_path, make_dataset):
    row = next(sample_rows([make_dataset(tmp_path / "data", with_heatmaps=False)], 4))
    assert row.prompt == "a yard; forklift"
    assert row.facts == ("sample 0", "4% uncertain")
    assert row.heatmaps == ()
    assert (row.label.height, row.label.width) == (16, 24)


def test_examples_tell_agreement_over_scored_pixels(classes):
    truth = np.array([[0, 1, 1, 255]], np.uint8)
    prediction = np.array([[0, 1, 2, 2]], np.uint8)
    (row,) = example_rows([Example(np.zeros((1, 4, 3), np.uint8), truth, prediction)], classes)
    assert row.agreement == pytest.approx(2 / 3)
    assert row.class_ids == (1, 2)
    assert [tile.name for tile in row.tiles] == ["image", "truth", "prediction"]


def test_an_example_without_truth_has_no_agreement(classes):
    unknown = np.full((2, 2), 255, np.uint8)
    (row,) = example_rows([Example(np.zeros((2, 2, 3), np.uint8), unknown, np.zeros((2, 2), np.uint8))], classes)
    assert np.isnan(row.agreement)


def test_no_more_examples_are_taken_than_shown(classes):
    label = np.zeros((2, 2), np.uint8)
    examples = iter([Example(np.zeros((2, 2, 3), np.uint8), label, label)] * (MAX_EXAMPLES + 3))
    assert len(list(example_rows(examples, classes))) == MAX_EXAMPLES
    assert len(list(examples)) == 3


@pytest.mark.parametrize(
    ("truth", "prediction", "told"),
    [
        ((2, 2), (2, 3), "prediction and truth differ in size; got 2 x 3; expected 2 x 2"),
        ((3, 2), (3, 2), "truth and image differ in size; got 3 x 2; expected 2 x 2"),
    ],
)
def test_an_example_of_several_sizes_is_refused(truth, prediction, told, classes):
    example = Example(np.zeros((2, 2, 3), np.uint8), np.zeros(truth, np.uint8), np.zeros(prediction, np.uint8))
    with pytest.raises(DatasetError, match=told):
        list(example_rows([example], classes))
