import pytest
import torch

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.errors import ModelError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.model_folder import Identity, load_segmenter, save_segmenter
from dataset_diffusion.segmentation.models import SEGMENTERS, build_segmenter

NUM_CLASSES = 4


def images(height, width, batch=2):
    return torch.rand((batch, 3, height, width), generator=torch.Generator().manual_seed(height * width))


@pytest.fixture(scope="module", params=SEGMENTERS)
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


def test_the_loss_reaches_every_parameter(segmenter):
    labels = torch.randint(0, NUM_CLASSES, (2, 32, 32), generator=torch.Generator().manual_seed(1))
    segmenter.train().loss(images(32, 32), labels, ignore_index=255).backward()
    without = [name for name, weight in segmenter.named_parameters() if weight.grad is None]
    assert without == []


def test_a_batch_without_a_label_changes_nothing(segmenter):
    labels = torch.full((2, 32, 32), 255)
    loss = segmenter.train().loss(images(32, 32), labels, ignore_index=255)
    loss.backward()
    assert loss.item() == 0
    assert all(not weight.grad.any() for weight in segmenter.parameters())


def test_saved_and_loaded_it_is_the_same(segmenter, tmp_path):
    classes = ClassSet.from_names(["cat", "dog", "bus"])
    save_segmenter(segmenter, Identity(classes, TrainSettings(segmenter=segmenter.name), 0, 1, ""), tmp_path)
    loaded = load_segmenter(tmp_path, device="cpu")
    assert loaded.class_set.names == ("cat", "dog", "bus")
    assert loaded.settings.segmenter == loaded.model.name == segmenter.name
    with torch.inference_mode():
        assert torch.equal(loaded.model(images(32, 32)), segmenter.eval()(images(32, 32)))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_pretrained_weights_that_cannot_be_had(name, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=rf"ImageNet weights of {name}.*--no-pretrained") as error:
        build_segmenter(name, NUM_CLASSES, pretrained=True)
    assert "\n" not in str(error.value)
