import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.labelling.maps import resize
from dataset_diffusion.labelling.propagate import propagate, propagate_each


def random_attention(seed, classes, cross_shape, self_shape, rows_sum_to_one=True):
    generator = torch.Generator().manual_seed(seed)
    pixels = self_shape[0] * self_shape[1]
    cross = torch.rand((classes, *cross_shape), generator=generator)
    matrix = torch.rand((pixels, pixels), generator=generator)
    return cross, matrix / matrix.sum(dim=1, keepdim=True) if rows_sum_to_one else matrix / pixels


@pytest.mark.parametrize("exponent", [0, 1, 2, 4, 8])
@pytest.mark.parametrize("self_shape", [(8, 8), (6, 10), (9, 4)])
def test_products_equal_the_matrix_power(exponent, self_shape):
    cross, matrix = random_attention(0, 3, (4, 5), self_shape, rows_sum_to_one=False)
    resized = resize(cross, self_shape).flatten(1).double()
    expected = (torch.linalg.matrix_power(matrix.double(), exponent) @ resized.T).T.unflatten(1, self_shape)

    maps = propagate(cross, matrix, self_shape, exponent)

    assert maps.shape == (3, *self_shape)
    assert maps.dtype == torch.float32
    assert (maps - expected).abs().max() <= 1e-5


def test_row_i_says_what_pixel_i_receives():
    # 2 x 2 pixels: pixel 0 takes all from pixel 3, pixel 1 half from 0 and half from 1, the others from themselves.
    matrix = torch.tensor([[0, 0, 0, 1], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    cross = torch.tensor([[[0.8, 0.2], [0.4, 0.6]]])

    once = propagate(cross, matrix, (2, 2), exponent=1)
    twice = propagate(cross, matrix, (2, 2), exponent=2)

    torch.testing.assert_close(once, torch.tensor([[[0.6, 0.5], [0.4, 0.6]]]))
    torch.testing.assert_close(twice, torch.tensor([[[0.6, 0.55], [0.4, 0.6]]]))


def test_every_class_is_propagated_on_its_own():
    swap_ends = torch.eye(3).flip(0)
    cross = torch.tensor([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]])
    expected = torch.tensor([[[3.0, 2.0, 1.0]], [[6.0, 5.0, 4.0]]])
    torch.testing.assert_close(propagate(cross, swap_ends, (1, 3), exponent=1), expected)
    torch.testing.assert_close(propagate(cross, swap_ends, (1, 3), exponent=2), cross)


def test_the_default_exponent_is_the_papers():
    cross, matrix = random_attention(1, 2, (3, 3), (4, 4))
    assert torch.equal(propagate(cross, matrix, (4, 4)), propagate(cross, matrix, (4, 4), exponent=4))


def test_exponent_zero_is_the_bicubic_resize_alone():
    cross, matrix = random_attention(2, 2, (3, 4), (6, 8))
    expected = torch.nn.functional.interpolate(cross[None], size=(6, 8), mode="bicubic", align_corners=False)[0]
    torch.testing.assert_close(propagate(cross, matrix, (6, 8), exponent=0), expected)
    same, matrix = random_attention(2, 2, (6, 8), (6, 8))
    assert torch.equal(propagate(same, matrix, (6, 8), exponent=0), same)


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 6), width=st.integers(1, 6), exponent=st.integers(0, 8))
def test_rows_that_sum_to_one_keep_values_in_range(seed, height, width, exponent):
    cross, matrix = random_attention(seed, 2, (3, 2), (height, width))
    resized = resize(cross, (height, width))
    maps = propagate(cross, matrix, (height, width), exponent)
    assert (maps.amax(dim=(1, 2)) <= resized.amax(dim=(1, 2)) + 1e-5).all()
    assert (maps.amin(dim=(1, 2)) >= resized.amin(dim=(1, 2)) - 1e-5).all()


def test_one_pass_equals_one_call_per_exponent():
    cross, matrix = random_attention(3, 2, (3, 3), (4, 5))
    exponents = (0, 1, 2, 4, 8)
    together = propagate_each(cross, matrix, (4, 5), exponents)
    apart = torch.stack([propagate(cross, matrix, (4, 5), exponent) for exponent in exponents])
    assert torch.equal(together, apart)


def test_numpy_and_half_precision_inputs_give_float32():
    cross, matrix = random_attention(4, 1, (3, 3), (4, 4))
    from_numpy = propagate(cross.numpy(), matrix.numpy(), (4, 4), exponent=2)
    assert torch.equal(from_numpy, propagate(cross, matrix, (4, 4), exponent=2))
    assert propagate(cross.half(), matrix.half(), (4, 4), exponent=2).dtype == torch.float32


def test_a_grid_that_does_not_fit_is_refused():
    cross, matrix = random_attention(0, 1, (2, 2), (3, 4))
    with pytest.raises(
        ConfigError, match=r"^self_attention does not belong to self_shape; got 12 x 12 .* 3 x 5 grid.*15 x 15$"
    ):
        propagate(cross, matrix, (3, 5))


@pytest.mark.parametrize("self_shape", [(0, 4), (-3, -4)])
def test_a_grid_without_pixels_is_refused(self_shape):
    cross, matrix = random_attention(0, 1, (2, 2), (3, 4))
    with pytest.raises(ConfigError, match=r"^bad self_shape; got .*expected \(height, width\), both at least 1$"):
        propagate(cross, matrix, self_shape)


def test_a_negative_exponent_is_refused():
    cross, matrix = random_attention(0, 1, (2, 2), (2, 2))
    with pytest.raises(ConfigError, match=r"\(exponent\); got -1; expected 0 or more"):
        propagate(cross, matrix, (2, 2), exponent=-1)


@pytest.mark.parametrize("exponents", [(), (1, 0), (1, 1), (-1, 2)])
def test_exponents_out_of_order_are_refused(exponents):
    cross, matrix = random_attention(0, 1, (2, 2), (2, 2))
    with pytest.raises(ConfigError, match=r"expected 0 or more; several in ascending order"):
        propagate_each(cross, matrix, (2, 2), exponents)


def test_no_class_is_refused():
    with pytest.raises(ConfigError, match=r"^the cross-attention maps are empty"):
        propagate(np.zeros((0, 2, 2), np.float32), np.eye(4, dtype=np.float32), (2, 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_with_the_fix(value):
    cross, matrix = random_attention(0, 1, (2, 2), (2, 2))
    matrix[1, 2] = value
    with pytest.raises(ModelError, match=r"^the self-attention maps hold NaN or infinity; .*fix: .*--dtype float32"):
        propagate(cross, matrix, (2, 2))
