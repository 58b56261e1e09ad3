import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from dataset_diffusion.dataset.exports.run_lengths import decode_brush, encode_brush, from_run_lengths, run_lengths

masks = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9), elements={"min_value": 0, "max_value": 1})


@given(masks)
def test_masks_come_back(mask):
    np.testing.assert_array_equal(from_run_lengths(run_lengths(mask.ravel()), mask.shape), mask)
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


def test_runs_longer_than_a_length_can_say_come_back():
    mask = np.zeros((300, 301), np.uint8)
    mask[120:] = 1
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


def test_levels_that_are_given_one_by_one_are_read():
    """Two pixels, the second painted, in one block of eight levels that do not repeat."""
    levels = [0, 0, 0, 0, 1, 2, 3, 255]
    header = f"{8:032b}{7:05b}{1:04b}{3:04b}{7:04b}{15:04b}"
    bits = header + "0" + "01" + f"{7:04b}" + "".join(f"{one:08b}" for one in levels)
    data = [int(bits[place : place + 8].ljust(8, "0"), 2) for place in range(0, len(bits), 8)]
    np.testing.assert_array_equal(decode_brush(data, (1, 2)), [[False, True]])


@pytest.mark.parametrize("size", [(1, 3), (2, 2)])
def test_bytes_of_another_size_are_refused(size):
    with pytest.raises(ValueError, match="levels for"):
        decode_brush(encode_brush(np.ones((1, 2), np.uint8)), size)


def test_bytes_that_end_too_early_are_refused():
    with pytest.raises(ValueError, match="end too early"):
        decode_brush(encode_brush(np.ones((1, 2), np.uint8))[:-2], (1, 2))
