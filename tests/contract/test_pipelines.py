"""What every diffusion pipeline promises: reading attention changes no pixel, and reads what explicit attention has."""

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from tests.helpers.architectures import ARCHITECTURES, build_text_encoder, build_unet, build_vae
from tests.helpers.tiny_models import THINNER, thin_model, thin_pipeline
from transformers import CLIPTokenizer

from dataset_diffusion.config import CaptureSettings
from dataset_diffusion.diffusion.families.unet import choose_layers
from dataset_diffusion.diffusion.load import SCHEDULERS, make_scheduler
from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.reading import LayerChoice
from dataset_diffusion.records import Prompt
from dataset_diffusion.seeding import sample_generator

CAT_AND_BUS = Prompt(0, "a photo of a cat and a bus; cat bus", "cat bus", (5, 3))
TEDDY = Prompt(1, "a teddy bear; teddy bear", "teddy bear", (12,))
SEEDS = (7, 8)
EVERY_SCHEDULER = [("sd21-base", name) for name in SCHEDULERS]
CASES = [*EVERY_SCHEDULER, ("sd15", "pndm"), ("sdxl-base", "euler")]


@pytest.fixture(scope="module")
def models():
    return {name: thin_model(name) for name in THINNER}


def pixels(images):
    return (images * 255).round().astype(np.uint8)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0], ids=["unguided", "guided"])
@pytest.mark.parametrize(("name", "scheduler"), CASES)
def test_the_image_is_the_plain_pipelines_bit_for_bit(models, name, scheduler, guidance_scale):
    model = models[name]
    model.pipeline.scheduler = make_scheduler(scheduler, model.pipeline.scheduler.config)
    options = {"guidance_scale": guidance_scale, "height": 64, "width": 96}
    negative = "ugly" if guidance_scale > 1 else None
    steps = 3 if name == "sd21-base" else 2
    drawn = model.generate(
        [CAT_AND_BUS, TEDDY], SEEDS, CaptureSettings(), steps=steps, negative_prompt=negative, **options
    )
    plain = model.pipeline(
        prompt=[CAT_AND_BUS.text, TEDDY.text],
        negative_prompt=negative and [negative, negative],
        num_inference_steps=steps,
        generator=[sample_generator(seed) for seed in SEEDS],
        output_type="np",
        **options,
    ).images
    assert np.array_equal(np.stack([generation.image for generation in drawn]), pixels(plain))
    assert all(generation.attention.self_shape == (4, 6) for generation in drawn)


@pytest.mark.parametrize("name", THINNER)
def test_the_maps_are_the_mean_of_explicit_attention(models, name):
    """An independent reading: processors that store the conditional half's probabilities, averaged at the end."""
    stored = {"attn1": [], "attn2": []}

    class Recorder(AttnProcessor):
        def __init__(self, kind):
            self.kind = kind

        def __call__(self, attn, hidden_states, encoder_hidden_states=None, **options):
            keys = hidden_states[1:] if self.kind == "attn1" else class_states
            query, key = attn.head_to_batch_dim(attn.to_q(hidden_states[1:])), attn.head_to_batch_dim(attn.to_k(keys))
            stored[self.kind].append(attn.get_attention_scores(query, key).mean(0))
            return super().__call__(attn, hidden_states, encoder_hidden_states, **options)

    model, unet = models[name], models[name].pipeline.unet
    class_states = model.pipeline.encode_prompt(
        prompt="teddy bear", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )[0]
    found = model.generate([TEDDY], [3], CaptureSettings())[0].attention
    before = dict(unet.attn_processors)
    chosen = [
        *choose_layers(unet, "attn2", LayerChoice(4), (16, 16)).names,
        *choose_layers(unet, "attn1", LayerChoice(8), (16, 16)).names,
    ]
    with torch.inference_mode():
        unet.set_attn_processor(before | {f"{layer}.processor": Recorder(layer[-5:]) for layer in chosen})
        model.generate([TEDDY], [3])
        unet.set_attn_processor(dict(before))
    cross, self_attention = (torch.stack(stored[kind]).mean(0) for kind in ("attn2", "attn1"))
    tokens = len(model.tokenizer("teddy bear").input_ids) - 2
    expected = cross[:, 1 : 1 + tokens].mean(1).reshape(1, 4, 4)
    torch.testing.assert_close(found.cross_attention, expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.self_attention, self_attention, atol=1e-6, rtol=1e-4)


def test_a_model_distilled_for_guidance_draws_without_doubling_its_batch(models):
    """As LCM: the guidance scale is an input of the UNet."""
    pipeline = thin_pipeline("sd15")
    pipeline.register_modules(unet=type(pipeline.unet)(**pipeline.unet.config | {"time_cond_proj_dim": 32}).eval())
    model = type(models["sd15"])(models["sd15"].spec, pipeline)
    batches = []
    pipeline.unet.register_forward_pre_hook(lambda unet, args: batches.append(len(args[0])))
    one, stronger = (model.generate([TEDDY], [3], CaptureSettings(), guidance_scale=scale)[0] for scale in (3.0, 8.5))
    assert batches == [1, 1, 1, 1]
    assert one.attention.cross_attention.shape == (1, 4, 4)
    assert not np.array_equal(one.image, stronger.image)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("sd15", {"unet": 859_520_964, "vae": 83_653_863, "text": [123_060_480]}),
        ("sd21-base", {"unet": 865_910_724, "vae": 83_653_863, "text": [340_387_840]}),
        ("sdxl-base", {"unet": 2_567_463_684, "vae": 83_653_863, "text": [123_060_480, 694_659_840]}),
    ],
)
def test_the_full_size_configs_have_the_published_numbers_of_parameters(name, parameters):
    def count(network):
        return sum(weight.numel() for weight in network.parameters())

    tokenizer = CLIPTokenizer.from_pretrained(f"{MODELS['embedded'].path}/tokenizer")
    with torch.device("meta"):
        texts = [
            build_text_encoder(config, tokenizer, projected=bool(place))
            for place, config in enumerate(ARCHITECTURES[name].text_encoders)
        ]
        found = {
            "unet": count(build_unet(name)),
            "vae": count(build_vae(name)),
            "text": [count(text) for text in texts],
        }
    assert found == parameters


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_specs_resolutions_are_there_at_full_size(name):
    spec = MODELS[name]
    native = (spec.height // 8, spec.width // 8)
    with torch.device("meta"):
        unet = build_unet(name)
    assert native == (unet.config.sample_size, unet.config.sample_size)
    for suffix, choice in (("attn2", spec.cross_attention), ("attn1", spec.self_attention)):
        assert choose_layers(unet, suffix, choice, native).names
