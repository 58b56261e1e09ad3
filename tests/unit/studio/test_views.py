import io

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.dataset.schema import decode_image
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.studio.views import Views, picked


def evidence(data, shape):
    size = shape[0] * shape[1]
    return np.frombuffer(data, np.float32, size).reshape(shape), np.frombuffer(data, np.uint8, size, 4 * size).reshape(
        shape
    )


@pytest.mark.parametrize("refine", ["none", "fast", "pamr"])
def test_evidence_and_thresholds_make_the_label_map(dataset, refine):
    for index, alpha, beta in [(0, 0.6, 0.5), (1, 0.31, 0.3), (3, 1.0, 0.0)]:
        settings = LabelSettings(exponent=0, threshold=alpha, uncertainty_threshold=beta, refine=refine)
        highest, ids = evidence(Views(dataset).evidence(index, settings), (12, 20))
        found = np.where(highest < np.float32(beta), 0, np.where(highest < np.float32(alpha), 255, ids))
        sample = dataset[index]
        expected = label_map(sample.heatmaps, sample.prompt.classes, (12, 20), settings, image=sample.image)
        np.testing.assert_array_equal(found, expected)


def test_a_small_view_picks_pixels_and_mixes_none(dataset):
    views = Views(dataset)
    small = views.label(1, 5)
    assert small.shape == (3, 5)
    np.testing.assert_array_equal(small, dataset.label(1)[2::4, 2::4])
    highest, ids = evidence(views.evidence(1, LabelSettings(), 5), (3, 5))
    whole, whole_ids = evidence(views.evidence(1, LabelSettings()), (12, 20))
    np.testing.assert_array_equal(highest, whole[2::4, 2::4])
    np.testing.assert_array_equal(ids, whole_ids[2::4, 2::4])


def test_a_view_is_never_larger_than_the_map():
    label = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.testing.assert_array_equal(picked(label, 100), label)
    assert picked(label, 1).shape == (1, 1)


def test_pictures_are_whole_or_small(dataset):
    views = Views(dataset)
    np.testing.assert_array_equal(decode_image(views.image(2)), dataset.image(2))
    small = Image.open(io.BytesIO(views.image(2, 10)))
    assert (small.format, small.size) == ("JPEG", (10, 6))


def test_heatmaps_are_shown_as_they_are_stored(dataset):
    values = Views(dataset).heatmaps(1, 4)
    assert values.shape == (2, 3, 5)
    assert np.abs(values / 255 - dataset[1].heatmaps.values[1]).max() < 0.003
    assert Views(dataset).heatmaps(1, 3).shape == (0, 1, 1)


def test_what_is_not_there_is_refused(dataset):
    with pytest.raises(IndexError):
        Views(dataset).sample(7)
    with pytest.raises(ConfigError, match="no heatmaps are stored for this exponent"):
        Views(dataset).evidence(0, LabelSettings(exponent=2))


def test_samples_read_lately_are_not_read_again(dataset):
    views = Views(dataset)
    assert views.sample(3) is views.sample(3)
