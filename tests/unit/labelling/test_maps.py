import numpy as np
import pytest
import torch

from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.labelling.maps import check_size, float_maps, resize


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_arrays_of_any_precision_become_float32_tensors(kind):
    maps = float_maps(np.array([[[0.5, 1.0]]], kind), "maps")
    assert maps.dtype == torch.float32
    assert maps.tolist() == [[[0.5, 1.0]]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(ModelError, match=r"^the maps hold NaN or infinity; expected finite values; fix: "):
        float_maps(np.array([[[0.5, value]]]), "maps")


def test_a_sum_that_overflows_is_no_infinity():
    assert float_maps(np.full((1, 2, 2), 3e38, np.float32), "maps").isfinite().all()


def test_nothing_at_all_is_refused():
    with pytest.raises(ConfigError, match=r"^the maps are empty; got shape \(0, 2, 2\); expected at least one map$"):
        float_maps(np.zeros((0, 2, 2)), "maps")


@pytest.mark.parametrize("size", [(7, 5), (12, 20), (1, 1)])
def test_resizing_is_torchs_bicubic_filter(size):
    maps = torch.rand(3, 6, 10, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(maps[None], size=size, mode="bicubic")[0]
    torch.testing.assert_close(resize(maps, size), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(0, 4), (4, -1)])
def test_a_size_without_pixels_is_refused(size):
    with pytest.raises(ConfigError, match=r"^bad grid; got \("):
        check_size(size, "grid")
