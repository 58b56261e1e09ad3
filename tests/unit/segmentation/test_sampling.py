from itertools import chain, islice

import pytest
import torch
from torch.utils.data import Dataset

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.segmentation.sampling import ConsecutiveBatches, MixedDraws, TrainingDraws

pytestmark = pytest.mark.slow


@pytest.fixture
def shades():
    """Seven images, each of one shade, whose label is the shade's number."""
    return [(torch.full((3, 8, 8), 30 * number, dtype=torch.uint8), torch.full((8, 8), number)) for number in range(7)]


def labels_of(draws, numbers):
    """Which image each draw shows: the one id in its label map that is not padding."""
    return [int(draws[number][1][draws[number][1] != 255].unique()) for number in numbers]


def test_every_epoch_shows_every_image_once_in_an_order_of_its_own(shades):
    draws = TrainingDraws(shades, num_classes=7, crop_size=(8, 8), seed=3)
    epochs = [labels_of(draws, range(start, start + 7)) for start in (0, 7, 14)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_draw_does_not_depend_on_what_was_drawn_before(shades):
    forwards, backwards = (TrainingDraws(shades, 7, (8, 8), seed=3) for _ in range(2))
    first = {number: forwards[number] for number in range(20)}
    for number in reversed(range(20)):
        image, label = backwards[number]
        assert torch.equal(image, first[number][0])
        assert torch.equal(label, first[number][1])


def test_another_seed_draws_otherwise(shades):
    one, other = (TrainingDraws(shades, 7, (8, 8), seed=seed) for seed in (3, 4))
    assert any(not torch.equal(one[number][0], other[number][0]) for number in range(7))


def test_float_images_are_read_as_fractions(shades):
    as_floats = [(image / 255, label) for image, label in shades]
    one, other = TrainingDraws(shades, 7, (8, 8), seed=3), TrainingDraws(as_floats, 7, (8, 8), seed=3)
    assert all((one[number][0].int() - other[number][0].int()).abs().max() <= 1 for number in range(7))


def test_batches_go_on_from_a_step():
    assert list(islice(ConsecutiveBatches(3), 2)) == [[0, 1, 2], [3, 4, 5]]
    assert next(iter(ConsecutiveBatches(3, start_step=5))) == [15, 16, 17]


def test_ids_outside_the_class_set(shades):
    draws = TrainingDraws(shades, num_classes=6, crop_size=(8, 8), seed=3)
    with pytest.raises(DatasetError, match=r"training image 6: .* got 6\.\.6; expected 0\.\.5, or 255") as error:
        labels_of(draws, range(7))
    assert "\n" not in str(error.value)


def test_a_label_map_of_another_size():
    data = [(torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(8, 9, dtype=torch.int64))]
    with pytest.raises(DatasetError, match=r"training image 0: .*another size; got \[8, 9\]; expected \[8, 8\]"):
        TrainingDraws(data, 2, (8, 8), seed=0)[0]


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("parts", [1, 3])
def test_processes_and_parts_share_the_draws_of_a_step(parts, num_processes):
    def draws(process):
        batches = ConsecutiveBatches(12, 2, parts=parts, process=process, num_processes=num_processes)
        return [draw for batch in islice(batches, parts) for draw in batch]

    shares = [draws(process) for process in range(num_processes)]
    assert sorted(chain.from_iterable(shares)) == list(range(24, 36))
    assert {len(share) for share in shares} == {12 // num_processes}


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.0, "abcdef"), (1.0, "ABCDEF"), (0.5, "aAbBcC"), (0.3, "abcAdeB"), (0.1, "abcdefghiA")]
)
def test_real_images_are_dealt_in_evenly(ratio, expected):
    class Letters(Dataset):
        def __init__(self, first):
            self.first = ord(first)

        def __getitem__(self, draw):
            letter = self.first + draw
            return torch.full((3, 1, 1), letter, dtype=torch.uint8), torch.full((1, 1), letter, dtype=torch.uint8)

    mixed = MixedDraws(Letters("a"), Letters("A"), ratio)
    assert "".join(chr(mixed[draw][1].item()) for draw in range(len(expected))) == expected


def test_where_pixels_are_weighed_those_without_a_weight_count_in_full(shades):
    weighed = [(image, torch.stack([label, label + 9])) for image, label in shades]
    given, full = (TrainingDraws(data, 7, (8, 8), seed=3, weighted=True) for data in (weighed, shades))
    for number in range(7):
        (_, mine), (_, whole) = given[number], full[number]
        assert torch.equal(mine[1], mine[0] + 9)
        assert torch.equal(whole, torch.stack([mine[0], torch.full_like(mine[0], 255)]))
