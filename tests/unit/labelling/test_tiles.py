import numpy as np
import pytest
import torch

from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.labelling.tiles import NUM_TILES, is_large, merge_tiles, tiles_of
from dataset_diffusion.records import AttentionMaps


def attention(cross, probabilities=True):
    cross = torch.as_tensor(cross, dtype=torch.float32)
    cells = cross.shape[1] * cross.shape[2]
    return AttentionMaps(cross, torch.eye(cells), (cross.shape[1], cross.shape[2]), probabilities)


@pytest.mark.parametrize(
    ("size", "large"), [((1024, 1024), False), ((1025, 300), True), ((300, 1025), True), ((64, 64), False)]
)
def test_a_photo_is_large_beyond_twice_the_models_side(size, large):
    assert is_large(size, (512, 512)) is large


@pytest.mark.parametrize("size", [(8, 12), (7, 13), (101, 57)])
def test_tiles_of_one_size_cover_the_photo(size):
    photo = np.arange(size[0] * size[1] * 3, dtype=np.int64).reshape(*size, 3)
    photo = (photo % 251).astype(np.uint8)
    tiles = list(tiles_of(photo))
    assert len(tiles) == NUM_TILES
    half = (-(-size[0] // 2), -(-size[1] // 2), 3)
    assert {tile.shape for tile in tiles} == {half}
    corners = [tiles[number] for number in (0, 2, 6, 8)]
    there = [
        photo[: half[0], : half[1]],
        photo[: half[0], -half[1] :],
        photo[-half[0] :, : half[1]],
        photo[-half[0] :, -half[1] :],
    ]
    assert all((tile == expected).all() for tile, expected in zip(corners, there, strict=True))


def test_whole_and_tiles_count_alike_and_lie_where_they_are_cut():
    whole = attention(np.full((2, 4, 6), 0.2))
    tiles = [attention(np.full((2, 4, 6), 0.6 if number == 8 else 0.0)) for number in range(NUM_TILES)]
    heatmaps = merge_tiles(whole, tiles, exponents=(0, 1))
    assert heatmaps.values.shape == (2, 2, 8, 12)
    values = heatmaps.values[0, 0].astype(np.float32)
    assert values[:4, :6] == pytest.approx(0.1, abs=1e-3)
    assert values[6:, 9:] == pytest.approx(0.4, abs=1e-3)  # where the last tile is alone
    assert values[4:6, 6:9] == pytest.approx(0.1 + 0.6 / 4 / 2, abs=1e-3)  # where it is one of four


@pytest.mark.parametrize("probabilities", [True, False])
def test_a_smooth_photo_gives_what_reading_it_whole_does(probabilities):
    rows, columns = np.mgrid[0:16, 0:16] / 15
    fine = np.stack([rows * 0.5 + 0.2, columns * 0.3])
    starts = [(row, column) for row in (0, 4, 8) for column in (0, 4, 8)]
    tiles = [attention(fine[:, row : row + 8, column : column + 8], probabilities) for row, column in starts]
    whole = attention(fine.reshape(2, 8, 2, 8, 2).mean((2, 4)), probabilities)
    merged = merge_tiles(whole, tiles, exponents=(0,)).values.astype(np.float32)
    expected = class_heatmaps(attention(fine, probabilities), exponents=(0,)).values.astype(np.float32)
    assert merged == pytest.approx(expected, abs=0.03)
