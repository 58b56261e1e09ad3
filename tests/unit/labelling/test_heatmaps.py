import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from dataset_diffusion.config import STORED_EXPONENTS
from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.labelling.heatmaps import class_heatmaps, normalize
from dataset_diffusion.labelling.propagate import propagate
from dataset_diffusion.records import AttentionMaps


def random_attention(seed=0, classes=2, cross_shape=(3, 4), self_shape=(6, 8)):
    generator = torch.Generator().manual_seed(seed)
    pixels = self_shape[0] * self_shape[1]
    cross = torch.rand((classes, *cross_shape), generator=generator)
    return AttentionMaps(cross, torch.rand((pixels, pixels), generator=generator).softmax(dim=1), self_shape)


def test_normalize_by_hand():
    maps = torch.tensor([[[1.0, 2.0], [3.0, 5.0]], [[-1.0, 0.0], [0.0, 1.0]]])
    expected = torch.tensor([[[0.0, 0.25], [0.5, 1.0]], [[0.0, 0.5], [0.5, 1.0]]])
    assert torch.equal(normalize(maps), expected)


def test_each_class_is_normalized_on_its_own():
    faint = torch.tensor([[[0.0, 1e-4]]])
    strong = torch.tensor([[[0.0, 0.9]]])
    assert torch.equal(normalize(torch.cat([faint, strong])), torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]]))


@pytest.mark.parametrize("value", [0.0, 0.3, -7.0])
def test_a_constant_map_gives_zeros(value):
    assert torch.equal(normalize(torch.full((1, 2, 3), value)), torch.zeros(1, 2, 3))


@settings(deadline=None)
@given(hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(-1e6, 1e6, width=32)))
def test_normalized_values_fill_the_unit_interval(values):
    for normalized in normalize(values):
        constant = not normalized.any()
        assert normalized.min() == 0
        assert constant or normalized.max() == 1


def test_heatmaps_are_the_normalized_maps_of_each_exponent():
    attention = random_attention()
    heatmaps = class_heatmaps(attention)

    assert heatmaps.exponents == STORED_EXPONENTS
    assert heatmaps.values.shape == (5, 2, 6, 8)
    assert heatmaps.values.dtype == np.float16
    assert heatmaps.ranges.shape == (5, 2, 2)
    assert heatmaps.ranges.dtype == np.float32
    for position, exponent in enumerate(STORED_EXPONENTS):
        maps = propagate(attention.cross_attention, attention.self_attention, attention.self_shape, exponent)
        np.testing.assert_array_equal(heatmaps.values[position], normalize(maps).half().numpy())
        np.testing.assert_array_equal(heatmaps.ranges[position, :, 0], maps.amin(dim=(1, 2)).numpy())
        np.testing.assert_array_equal(heatmaps.ranges[position, :, 1], maps.amax(dim=(1, 2)).numpy())


def test_the_raw_range_tells_the_drawn_class_from_the_absent_one():
    drawn, absent = torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)
    drawn[0, 0, 0], absent[0, 1, 1] = 0.9, 0.001
    heatmaps = class_heatmaps(AttentionMaps(torch.cat([drawn, absent]), torch.eye(4), (2, 2)), exponents=(0,))
    assert heatmaps.values.max(axis=(2, 3)).tolist() == [[1.0, 1.0]]
    np.testing.assert_array_equal(heatmaps.ranges, np.float32([[[0, 0.9], [0, 0.001]]]))


def test_attention_that_prefers_no_pixel_gives_zeros_whatever_the_rounding():
    attention = random_attention()
    flat = AttentionMaps(torch.full((1, 3, 4), 0.3), attention.self_attention, attention.self_shape)
    assert not class_heatmaps(flat).values.any()


def test_an_empty_stack_is_refused():
    with pytest.raises(ConfigError, match=r"^the heatmaps are empty; got shape"):
        normalize(torch.zeros(0, 2, 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_refused_with_the_fix(value):
    with pytest.raises(ModelError, match=r"^the heatmaps hold NaN or infinity; .*fix: .*--dtype float32"):
        normalize(torch.tensor([[[0.0, value]]]))
