import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from tests.helpers.tiny_transformers import sd3

from dataset_diffusion.config import CaptureSettings, GenerateSettings
from dataset_diffusion.diffusion.load import load_from_settings
from dataset_diffusion.diffusion.specs import model_fingerprint, spec_of
from dataset_diffusion.errors import ModelError
from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog; dog", "dog", (2,))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model's folder, and tiny autoencoders of its latents and of others."""
    path = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    sd3(with_t5=False).save_pretrained(path / "sd3")
    for name, channels in (("tiny", 4), ("other", 16)):
        widths = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
        blocks = {"num_encoder_blocks": (1,) * 4, "num_decoder_blocks": (1,) * 4}
        AutoencoderTiny(latent_channels=channels, **widths, **blocks).save_pretrained(path / name)
    return path


def settings(files, decoder=None):
    return GenerateSettings(
        model=str(files / "sd3"), tiny_decoder=None if decoder is None else str(decoder), device="cpu"
    )


def test_it_decodes_what_the_model_denoised(files):
    model = load_from_settings(settings(files, files / "tiny"))
    assert isinstance(model.pipeline.vae, AutoencoderTiny)
    (read,) = model.generate([DOG], [1], CaptureSettings(), steps=1)
    (plain,) = model.generate([DOG], [1], steps=1)
    assert np.array_equal(read.image, plain.image)
    (own,) = load_from_settings(settings(files)).generate([DOG], [1], CaptureSettings(), steps=1)
    assert own.image.shape == read.image.shape
    assert not np.array_equal(own.image, read.image)
    assert torch.equal(own.attention.cross_attention, read.attention.cross_attention)


def test_given_images_are_read_through_it(files):
    model = load_from_settings(settings(files, files / "tiny"))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (maps,) = model.attend([image], [DOG], [1])
    assert maps.cross_attention.isfinite().all()


def test_the_model_with_it_is_another_one(files):
    plain, tiny = (model_fingerprint(spec_of(settings(files, one))) for one in (None, files / "tiny"))
    assert tiny.startswith(f"{plain}+")
    assert "tiny_decoder" not in settings(files).model_dump()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sd3", "not a tiny autoencoder; got {}; expected config.json and diffusion_pytorch_model.safetensors"),
        ("other", "the tiny autoencoder is of another model's latents; got 16 channels in {}; expected 4 channels"),
    ],
)
def test_what_does_not_fit_is_refused(files, name, message):
    with pytest.raises(ModelError) as error:
        load_from_settings(settings(files, files / name))
    assert str(error.value) == message.format(files / name)
