import numpy as np
import pytest

from dataset_diffusion.diffusion.pictures import Picture, fitting_size, read_each, resize_picture
from dataset_diffusion.records import Prompt


@pytest.mark.parametrize(
    ("picture", "native", "size"),
    [
        ((512, 512), (512, 512), (512, 512)),
        ((375, 500), (512, 512), (440, 592)),
        ((3000, 1000), (128, 128), (224, 72)),
        ((40, 4000), (128, 128), (16, 1280)),
        ((10, 9000), (128, 128), (8, 3840)),
    ],
)
def test_a_size_that_fits_has_the_models_pixels_and_the_pictures_proportions(picture, native, size):
    assert fitting_size(*picture, native, 8) == size
    assert not any(side % 8 for side in size)


def test_a_picture_of_the_size_is_left_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    assert resize_picture(image, (16, 24)) is image


def test_a_picture_that_shrinks_is_averaged():
    image = np.zeros((4, 4, 3), np.uint8)
    image[::2] = 200
    assert (resize_picture(image, (2, 2)) == 100).all()
    assert resize_picture(image, (8, 12)).shape == (8, 12, 3)


def test_neighbours_of_a_size_are_read_together_and_in_order():
    sizes = [8, 8, 8, 16, 16, 8]
    prompt = Prompt(0, "a cat; cat", "cat", (5,))
    pictures = [Picture(np.zeros((size, 8, 3), np.uint8), prompt, seed) for seed, size in enumerate(sizes)]
    batches = []

    def read(images, prompts, seeds):
        assert len(images) == len(prompts) == len(seeds)
        batches.append([len(image) for image in images])
        return list(seeds)

    assert list(read_each(pictures, read, batch_size=2)) == [0, 1, 2, 3, 4, 5]
    assert batches == [[8, 8], [8], [16, 16], [8]]
