import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.labelling.assign import assign_labels, label_map, strongest_classes
from dataset_diffusion.records import Heatmaps

unit_maps = hnp.arrays(np.float32, (3, 4, 5), elements=st.floats(0, 1, width=32))
fractions = st.floats(0, 1)


def test_labels_by_hand():
    cat = [[1.0, 0.6, 0.59], [0.2, 0.5, 0.49], [0.0, 0.1, 0.9]]
    dog = [[0.9, 0.1, 0.2], [0.7, 0.3, 0.1], [0.55, 0.3, 1.0]]
    labels = assign_labels(torch.tensor([cat, dog]), class_ids=[3, 8], size=(3, 3))
    assert labels.dtype == torch.uint8
    assert labels.tolist() == [[3, 3, 255], [8, 255, 0], [255, 0, 8]]


def test_thresholds_belong_to_the_higher_side():
    heatmap = torch.tensor([[[0.75, 0.5, 0.25]]])
    assert assign_labels(heatmap, [1], (1, 3), threshold=0.75, uncertainty_threshold=0.5).tolist() == [[1, 255, 0]]


def test_the_first_class_wins_a_tie():
    assert assign_labels(torch.ones(3, 2, 2), [9, 4, 7], (2, 2)).tolist() == [[9, 9], [9, 9]]


def test_ignore_index_is_an_argument():
    assert assign_labels(torch.tensor([[[0.55]]]), [1], (1, 1), ignore_index=254).tolist() == [[254]]


def test_heatmaps_are_resized_bicubically_before_they_are_compared():
    maps = torch.rand((2, 3, 4), generator=torch.Generator().manual_seed(0))
    resized = torch.nn.functional.interpolate(maps[None], size=(7, 9), mode="bicubic", align_corners=False)[0]
    labels = assign_labels(maps, [1, 2], (7, 9))
    for row in range(7):
        for column in range(9):
            first, second = resized[:, row, column].tolist()
            highest = max(first, second)
            expected = (1 if first >= second else 2) if highest >= 0.6 else (255 if highest >= 0.5 else 0)
            assert labels[row, column] == expected


@settings(deadline=None)
@given(unit_maps, fractions, fractions)
def test_only_background_class_ids_and_ignore_occur(maps, one, other):
    beta, alpha = sorted((one, other))
    labels = assign_labels(maps, [5, 77, 254], (9, 6), alpha, beta)
    assert labels.shape == (9, 6)
    assert set(labels.unique().tolist()) <= {0, 5, 77, 254, 255}


@settings(deadline=None)
@given(unit_maps, fractions)
def test_equal_thresholds_leave_nothing_uncertain(maps, threshold):
    assert not (assign_labels(maps, [1, 2, 3], (8, 10), threshold, threshold) == 255).any()


@settings(deadline=None)
@given(unit_maps, fractions, fractions)
def test_the_band_only_moves_pixels_into_uncertainty(maps, one, other):
    beta, alpha = sorted((one, other))
    strict = assign_labels(maps, [1, 2, 3], (4, 5), alpha, alpha)
    banded = assign_labels(maps, [1, 2, 3], (4, 5), alpha, beta)
    changed = banded != strict
    assert (banded[changed] == 255).all()
    assert (strict[changed] == 0).all()


@pytest.mark.parametrize(
    ("alpha", "beta"), [(0.5, 0.6), (1.1, 0.5), (0.6, -0.1), (float("nan"), 0.5), (0.6, float("nan"))]
)
def test_thresholds_out_of_order_are_refused(alpha, beta):
    with pytest.raises(
        ConfigError, match=r"^bad thresholds; got .*expected 0 <= uncertainty_threshold <= threshold <= 1$"
    ):
        assign_labels(torch.ones(1, 2, 2), [1], (2, 2), alpha, beta)


@pytest.mark.parametrize("class_id", [0, 255, -1, 300])
def test_ids_that_are_no_class_are_refused(class_id):
    with pytest.raises(ConfigError, match=rf"^bad class id; got {class_id}; expected 1 to 254"):
        assign_labels(torch.ones(2, 2, 2), [1, class_id], (2, 2))


def test_an_id_that_is_the_ignore_index_is_refused():
    with pytest.raises(ConfigError, match=r"^bad class id; got 7; .*not ignore_index \(7\)"):
        assign_labels(torch.ones(1, 2, 2), [7], (2, 2), ignore_index=7)


@pytest.mark.parametrize("ignore_index", [0, 256])
def test_an_ignore_index_that_cannot_be_stored_is_refused(ignore_index):
    with pytest.raises(ConfigError, match=rf"^bad ignore_index; got {ignore_index}; expected 1 to 255$"):
        assign_labels(torch.ones(1, 2, 2), [1], (2, 2), ignore_index=ignore_index)


def test_one_id_per_heatmap():
    with pytest.raises(ConfigError, match=r"^one class id is needed per heatmap; got 1 ids; expected 2"):
        assign_labels(torch.ones(2, 2, 2), [1], (2, 2))


def test_a_size_without_pixels_is_refused():
    with pytest.raises(ConfigError, match=r"^bad label size; got \(0, 4\)"):
        assign_labels(torch.ones(1, 2, 2), [1], (0, 4))


def test_nan_is_refused_rather_than_read_as_background():
    with pytest.raises(ModelError, match=r"^the heatmaps hold NaN or infinity"):
        assign_labels(torch.tensor([[[float("nan"), 1.0]]]), [1], (1, 2))


def stored(exponents=(0, 4)):
    values = np.random.default_rng(0).random((len(exponents), 2, 3, 4)).astype(np.float16)
    return Heatmaps(exponents, values, np.zeros((len(exponents), 2, 2), np.float32))


@pytest.mark.parametrize(("exponent", "position"), [(0, 0), (4, 1)])
def test_label_map_reads_the_stored_exponent(exponent, position):
    heatmaps = stored()
    settings = LabelSettings(exponent=exponent, threshold=0.7, uncertainty_threshold=0.4)
    label = label_map(heatmaps, (2, 9), (6, 8), settings)
    expected = assign_labels(heatmaps.values[position], (2, 9), (6, 8), 0.7, 0.4)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, expected.numpy())


def test_without_any_attention_nothing_is_known():
    """As of an image that a safety checker made black: not even that it is background."""
    values = np.zeros((1, 2, 3, 4), np.float16)
    heatmaps, settings = Heatmaps((0,), values, np.zeros((1, 2, 2), np.float32)), LabelSettings(exponent=0)
    np.testing.assert_array_equal(label_map(heatmaps, (2, 9), (6, 8), settings), np.full((6, 8), 255))
    ranges = np.full((1, 2, 2), 0.25, np.float32)  # attention that is the same everywhere
    np.testing.assert_array_equal(label_map(Heatmaps((0,), values, ranges), (2, 9), (6, 8), settings), np.zeros((6, 8)))


def test_an_exponent_that_is_not_stored_is_refused():
    with pytest.raises(ConfigError, match=r"^no heatmaps are stored for this exponent; got 8; expected one of 0, 4$"):
        label_map(stored(), (2, 9), (6, 8), LabelSettings(exponent=8))


def test_comparing_the_strongest_classes_with_the_thresholds_gives_the_label_map():
    values = np.random.default_rng(0).random((2, 3, 6, 7)).astype(np.float16)
    heatmaps = Heatmaps((0, 4), values, np.ones((2, 3, 2), np.float32))
    for threshold, band in [(0.6, 0.5), (0.35, 0.35), (0.9, 0.0)]:
        chosen = LabelSettings(exponent=0, threshold=threshold, uncertainty_threshold=band)
        ids, highest = strongest_classes(heatmaps, (9, 2, 4), (11, 13), chosen)
        expected = np.where(highest >= np.float32(threshold), ids, np.where(highest >= np.float32(band), 255, 0))
        np.testing.assert_array_equal(label_map(heatmaps, (9, 2, 4), (11, 13), chosen), expected)


def test_where_no_class_drew_attention_every_threshold_is_uncertain():
    heatmaps = Heatmaps((4,), np.zeros((1, 1, 3, 3), np.float16), np.zeros((1, 1, 2), np.float32))
    ids, highest = strongest_classes(heatmaps, (1,), (5, 5), LabelSettings())
    assert (ids == 255).all()
    assert (highest == np.inf).all()
