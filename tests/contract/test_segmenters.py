import re

import pytest
import torch
from tests.helpers.own_segmenter import Own
from tests.helpers.processes import succeed
from torch import nn

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.errors import ModelError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.model_folder import Identity, TrainedSegmenter, load_segmenter, save_segmenter
from dataset_diffusion.segmentation.models import SEGMENTERS, build_segmenter
from dataset_diffusion.segmentation.portable import export_segmenter

NUM_CLASSES = 4
CLASSES = ClassSet.from_names(["cat", "dog", "bus"])
COMPUTED = ["unet-efficientnet-lite0", *{name.split("-")[0]: name for name in reversed(SEGMENTERS)}.values()]
"""The first row of every family; the others are the same code with other numbers, or other heads."""
OWN = f"{Own.__module__}:{Own.__qualname__}"
"""Not a row of the table: a network as a user may write it."""
HAD = "unet-efficientnet-lite0"
"""Its pretrained weights are a package, which the tests' environment has."""
MILLION_PARAMETERS = {
    "unet-resnet18": 12.5,
    "unet-efficientnet-lite0": 3.8,
    "deeplabv3-resnet18": 16.1,
    "deeplabv3-resnet50": 42.0,
    "deeplabv3-resnet101": 61.0,
    "deeplabv3-resnet50-published": 68.1,
    "deeplabv3-resnet101-published": 87.1,
    "mask2former-small": 11.6,
    "mask2former-resnet50": 44.0,
    "segformer-b0": 3.7,
    "segformer-b1": 13.7,
    "segformer-b2": 27.4,
    "segformer-b3": 47.2,
    "segformer-b4": 64.0,
    "segformer-b5": 84.6,
}
"""With 21 classes; the published ones of DeepLabV3, Mask2Former and SegFormer, auxiliary heads included."""


def images(height, width, batch=2):
    return torch.rand((batch, 3, height, width), generator=torch.Generator().manual_seed(height * width))


@pytest.fixture(scope="module", params=[*COMPUTED, OWN])
def built(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_segmenter(request.param, NUM_CLASSES)


@pytest.fixture
def segmenter(built):
    built.zero_grad()
    return built


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
@torch.inference_mode()
def test_logits_have_the_size_of_the_images(segmenter, size):
    logits = segmenter.eval()(images(*size))
    assert logits.shape == (2, NUM_CLASSES, *size)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@torch.inference_mode()
def test_an_image_does_not_depend_on_its_batch(segmenter):
    batch = images(32, 48)
    segmenter.eval()
    torch.testing.assert_close(segmenter(batch)[1:], segmenter(batch[1:]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_it_has_the_published_size_and_an_encoder(name):
    with torch.device("meta"):
        segmenter = build_segmenter(name, 21)
    size = sum(weight.numel() for weight in segmenter.parameters())
    assert size / 1e6 == pytest.approx(MILLION_PARAMETERS[name], abs=0.1)
    inside = sum(weight.numel() for weight in segmenter.encoder.parameters())
    assert 0.25 * size < inside < size


def test_the_help_names_every_segmenter_and_no_other():
    told = succeed("train", "--help").split("Segmenter by name:")[1].split("(default")[0]
    assert re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)+", told) == list(SEGMENTERS)


@pytest.mark.parametrize("depth", [50, 101])
def test_large_deeplabs_have_the_papers_backbone(depth):
    with torch.device("meta"):
        backbone = build_segmenter(f"deeplabv3-resnet{depth}", 21).encoder.stages
    stem = [layer.kernel_size for layer in backbone.conv1 if isinstance(layer, nn.Conv2d)]
    assert stem == [(3, 3)] * 3
    assert backbone.pretrained_cfg["hf_hub_id"] == f"timm/resnet{depth}c.gluon_in1k"
    assert backbone.feature_info.reduction() == [8, 8]


def test_it_learns_one_batch_by_heart(segmenter):
    start = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    batch = images(32, 32)
    labels = (batch.mean(dim=1) > 0.5).long() * 2
    batch[:, 0] = labels / 2
    optimizer = torch.optim.AdamW(segmenter.parameters(), lr=1e-3)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = segmenter.train().loss(batch, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    segmenter.load_state_dict(start)
    assert min(losses) < 0.95 * losses[0]


def test_the_loss_reaches_every_parameter(segmenter):
    labels = torch.randint(0, NUM_CLASSES, (2, 32, 32), generator=torch.Generator().manual_seed(1))
    segmenter.train().loss(images(32, 32), labels).backward()
    without = [name for name, weight in segmenter.named_parameters() if weight.grad is None]
    assert without == []


def test_a_batch_without_a_label_changes_nothing(segmenter):
    labels = torch.full((2, 32, 32), 255)
    loss = segmenter.train().loss(images(32, 32), labels)
    loss.backward()
    assert loss.item() == 0
    assert all(not weight.grad.any() for weight in segmenter.parameters())


def test_saved_and_loaded_it_is_the_same(segmenter, tmp_path):
    save_segmenter(segmenter, Identity(CLASSES, TrainSettings(segmenter=segmenter.name), 0, 1, ""), tmp_path)
    loaded = load_segmenter(tmp_path, device="cpu")
    assert loaded.class_set.names == ("cat", "dog", "bus")
    assert loaded.settings.segmenter == loaded.model.name == segmenter.name
    with torch.inference_mode():
        assert torch.equal(loaded.model(images(32, 32)), segmenter.eval()(images(32, 32)))


@pytest.mark.parametrize("model_format", ["onnx", "torchscript"])
def test_as_one_file_it_computes_the_same(segmenter, model_format):
    """The other rows are the same graphs with other numbers; the largest take a minute and gigabytes each."""
    trained = TrainedSegmenter(segmenter, CLASSES, TrainSettings(segmenter=segmenter.name))
    size = None if getattr(segmenter.network, "any_size", True) else 64
    data, agreement = export_segmenter(trained, model_format, size)
    assert agreement.equal_pixels >= 0.9999
    assert agreement.largest_difference <= 1e-4
    assert len(data) > 3.9 * sum(weight.numel() for weight in segmenter.parameters())  # norms may be folded


@pytest.mark.parametrize("name", [name for name in SEGMENTERS if name != HAD])
def test_pretrained_weights_that_cannot_be_had(name, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with (
        torch.device("meta"),
        pytest.raises(ModelError, match=rf"ImageNet weights of {name}.*--no-pretrained") as error,
    ):
        build_segmenter(name, NUM_CLASSES, pretrained=True)
    assert "\n" not in str(error.value)
