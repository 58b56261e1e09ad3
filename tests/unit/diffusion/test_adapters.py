import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from tests.helpers.tiny_transformers import sd3

from dataset_diffusion.config import GenerateSettings
from dataset_diffusion.diffusion.adapters import find_adapters
from dataset_diffusion.diffusion.load import load_from_settings
from dataset_diffusion.diffusion.specs import model_fingerprint, spec_of
from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog; dog", "dog", (2,))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model's folder, and two adapters for it."""
    path = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    pipeline = sd3(with_t5=False)
    pipeline.save_pretrained(path / "sd3")
    for name in ("one", "two"):
        pipeline.transformer.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_k"]), name)
        weights = get_peft_model_state_dict(pipeline.transformer, adapter_name=name)
        StableDiffusion3Pipeline.save_lora_weights(path, weights, weight_name=f"{name}.safetensors")
    return path


def settings_of(files, *lora):
    return GenerateSettings(model=str(files / "sd3"), lora=lora, device="cpu")


def draw(files, *lora):
    return load_from_settings(settings_of(files, *lora)).generate([DOG], [1], steps=1)[0].image


def refused(kind, call, *arguments):
    with pytest.raises(kind) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_adapters_change_the_picture_by_their_scales(files):
    one, two = (str(files / f"{name}.safetensors") for name in ("one", "two"))
    plain, with_one, half, both = draw(files), draw(files, one), draw(files, f"{one}:0.5"), draw(files, one, two)
    pictures = [plain, with_one, half, both]
    assert not any(np.array_equal(a, b) for place, a in enumerate(pictures) for b in pictures[place + 1 :])
    assert np.array_equal(draw(files, f"{one}:0"), plain)


def test_the_fingerprint_is_of_the_weights_and_the_scale(files):
    one, two = (str(files / f"{name}.safetensors") for name in ("one", "two"))
    found = {model_fingerprint(spec_of(settings_of(files, *lora))) for lora in ((), (one,), (f"{one}:0.5",), (two,))}
    assert len(found) == 4


def test_what_is_no_adapter_of_the_model(files, tmp_path):
    assert "expected a .safetensors file" in refused(ModelError, find_adapters, [str(files / "none.safetensors")])
    (tmp_path / "lora.bin").touch()
    assert "expected a .safetensors file" in refused(ModelError, find_adapters, [str(tmp_path / "lora.bin")])
    assert "FILE:0.8" in refused(ConfigError, find_adapters, [f"{files}/one.safetensors:much"])
    vae = files / "sd3" / "vae" / "diffusion_pytorch_model.safetensors"
    assert "not of this model" in refused(ModelError, draw, files, str(vae))
