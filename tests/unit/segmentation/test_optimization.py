import pytest
import torch

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.segmentation.optimization import lightning_precision

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.mark.parametrize(("asked", "name"), [("fp32", "32-true"), ("bf16", "bf16-mixed"), ("fp16", "16-mixed")])
def test_the_precision_asked_for_is_taken(asked, name):
    assert lightning_precision(TrainSettings(precision=asked), CPU, (16, 16)) == name


def test_small_crops_are_trained_in_float32_unless_told_otherwise():
    assert lightning_precision(TrainSettings(), CPU, (31, 512)) == "32-true"
    assert lightning_precision(TrainSettings(), CPU, (512, 31)) == "32-true"


def test_depthwise_convolutions_are_trained_in_float32_on_a_cpu():
    settings = TrainSettings(segmenter="unet-efficientnet-lite0")
    assert lightning_precision(settings, CPU, (512, 512)) == "32-true"
    assert lightning_precision(settings.model_copy(update={"precision": "bf16"}), CPU, (512, 512)) == "bf16-mixed"
