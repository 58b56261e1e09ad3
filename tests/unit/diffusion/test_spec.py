import pytest
from diffusers import DDIMScheduler

from dataset_diffusion.config import GenerateSettings
from dataset_diffusion.diffusion.adapters import Adapter
from dataset_diffusion.diffusion.load import SCHEDULERS, make_scheduler
from dataset_diffusion.diffusion.spec import ModelSpec, model_fingerprint


def test_an_adapter_makes_another_model_of_a_hub_id(tmp_path):
    file = tmp_path / "lora.safetensors"
    file.write_bytes(b"weights")
    bare = ModelSpec("owner/name", revision="a" * 40)
    whole, half = (ModelSpec("owner/name", revision="a" * 40, adapters=(Adapter(file, scale),)) for scale in (1.0, 0.5))
    assert model_fingerprint(bare) == "a" * 40
    assert model_fingerprint(whole).startswith("a" * 40 + "+")
    assert model_fingerprint(whole) != model_fingerprint(half)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_plan_counts_the_calls_that_its_scheduler_makes(name):
    scheduler = make_scheduler(name, DDIMScheduler().config)
    scheduler.set_timesteps(50)
    plan = ModelSpec("thin").resolve(GenerateSettings(steps=50, scheduler=name))
    assert plan.num_calls == len(scheduler.timesteps)


def test_the_models_own_negative_prompt_is_for_guidance():
    spec = ModelSpec("thin", guidance_scale=3.0, negative_prompt="ugly")
    assert spec.resolve(GenerateSettings()).negative_prompt == "ugly"
    assert spec.resolve(GenerateSettings(guidance_scale=1.0)).negative_prompt == ""
