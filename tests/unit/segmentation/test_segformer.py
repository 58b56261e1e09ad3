import pytest
import torch

from dataset_diffusion.segmentation.segformer import SIZES, SegFormer

pytestmark = pytest.mark.slow


def test_logits_have_the_size_of_the_images():
    model = SegFormer(4, "b0", pretrained=False).eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 64, 96)).shape == (2, 4, 64, 96)


# Table 1 of the paper, encoders (MiT) in millions.
@pytest.mark.parametrize(("size", "millions"), [("b0", 3.7 - 0.4), ("b1", 13.1), ("b2", 24.2), ("b5", 81.4)])
def test_the_encoders_have_the_published_numbers_of_parameters(size, millions):
    assert size in SIZES
    with torch.device("meta"):
        encoder = SegFormer(19, size, pretrained=False).encoder
    assert sum(weight.numel() for weight in encoder.parameters()) / 1e6 == pytest.approx(millions, rel=0.05)
