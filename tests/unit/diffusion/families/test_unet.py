from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.tiny_models import SPEC, add_safety_checker, thin_model, thin_pipeline

from dataset_diffusion.config import CaptureSettings, GenerateSettings
from dataset_diffusion.diffusion.families.unet import UNetModel, choose_layers
from dataset_diffusion.diffusion.load import make_scheduler
from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.reading import LayerChoice
from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

CAT_AND_BUS = Prompt(0, "a photo of a cat and a bus; cat bus", "cat bus", (5, 3))
TEDDY = Prompt(1, "a teddy bear; teddy bear", "teddy bear", (12,))
NATIVE = (16, 16)


@pytest.fixture(scope="module")
def model():
    return thin_model("sd21-base")


def draw(model, prompts=(CAT_AND_BUS, TEDDY), seeds=(7, 8), capture=CaptureSettings(), **options):
    return model.generate(list(prompts), list(seeds), capture, **options)


def refused(kind, call, *arguments, **options):
    with pytest.raises(kind) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def plan(model, **options):
    return model.spec.resolve(GenerateSettings(**options))


def test_a_negative_prompt_without_guidance():
    model = thin_model("sd21-base")
    message = refused(ConfigError, model.check, [TEDDY], plan(model, negative_prompt="ugly", guidance_scale=1.0))
    assert message == (
        "a negative prompt does nothing without classifier-free guidance; got guidance scale 1; "
        "expected a scale above 1; fix: leave out --negative-prompt"
    )
    model.check([TEDDY], plan(model, negative_prompt="ugly", guidance_scale=1.5))
    model.check([TEDDY], plan(model, negative_prompt="ugly"))  # the model's own scale
    model.check([TEDDY], plan(model, negative_prompt="", guidance_scale=1.0))


def test_the_models_own_negative_prompt_stays_silent_without_guidance():
    model = thin_model("sd21-base")
    model.spec = replace(model.spec, negative_prompt="ugly")
    model.generate([TEDDY], [1], guidance_scale=1.0, steps=1, height=64, width=64)


def test_a_negative_prompt_for_a_model_distilled_for_guidance():
    pipeline = thin_pipeline("sd15")
    pipeline.unet.register_to_config(time_cond_proj_dim=32)
    model = UNetModel(SPEC, pipeline)
    message = refused(ConfigError, model.check, [TEDDY], plan(model, negative_prompt="ugly"))
    assert message == (
        "a negative prompt does nothing without classifier-free guidance; got a model distilled for guidance; "
        "expected no negative prompt; fix: leave out --negative-prompt"
    )


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            ConfigError,
            {"height": 100},
            "the image size does not fit the model; got 100x128 pixels; expected height and width that are multiples "
            "of 8; fix: use 96x128",
        ),
        (ConfigError, {"steps": 1001}, "too many denoising steps; got 1001; expected at most 1000"),
        (
            ModelError,
            {"capture": CaptureSettings(cross_attention_resolution=32)},
            "the model has no cross-attention layer of that resolution and name; got 32 in any block; expected one of "
            "16 in down_blocks.0; 16 in up_blocks.3; 2 in mid_block; 4 in down_blocks.2; 4 in up_blocks.1; 8 in "
            "down_blocks.1; 8 in up_blocks.2",
        ),
        (
            ModelError,
            {"capture": CaptureSettings(self_attention_layers=("down_blocks.3",))},
            "the model has no self-attention layer of that resolution and name; got 8 in down_blocks.3; expected one ",
        ),
    ],
)
def test_what_the_model_cannot_draw(kind, options, message):
    model = thin_model("sd21-base")
    assert refused(kind, model.check, [TEDDY], plan(model, **options)).startswith(message)
    options = {"capture": CaptureSettings()} | options
    assert refused(kind, model.generate, [TEDDY], [1], **options).startswith(message)


def test_a_few_step_scheduler_has_its_own_limit():
    model = thin_model("sd21-base")
    model.pipeline.scheduler = make_scheduler("lcm", model.pipeline.scheduler.config)
    message = refused(ConfigError, model.check, [TEDDY], plan(model, steps=51))
    assert message == "too many denoising steps; got 51; expected at most 50"


def test_an_image_that_the_safety_checker_refuses_is_black_and_has_no_class_in_it():
    model = thin_model("sd15")
    prompts, seeds = [TEDDY, TEDDY, TEDDY], [1, 2, 3]
    before = draw(model, prompts, seeds)
    refused = add_safety_checker(model.pipeline, [drawn.image for drawn in before])
    for position, (drawn, plain) in enumerate(zip(draw(model, prompts, seeds), before, strict=True)):
        if position == refused:
            assert not drawn.image.any()
            assert not drawn.attention.cross_attention.any()
        else:
            assert np.array_equal(drawn.image, plain.image)
            assert torch.equal(drawn.attention.cross_attention, plain.attention.cross_attention)


def test_numbers_that_overflow_do_not_become_black_images():
    model = thin_model("sd21-base")
    torch.nn.init.constant_(model.pipeline.vae.decoder.conv_out.bias, torch.nan)
    with pytest.raises(ModelError) as raised:
        draw(model)
    assert str(raised.value) == (
        "the model's numbers overflowed; got images that are not finite; fix: --dtype bfloat16 or float32"
    )


def each_calls_maps(model, steps):
    """The cross-attention of every single call, read by one reader each."""
    capture = model.spec.resolve_reading()
    with ExitStack() as stack:
        readers = [
            stack.enter_context(model._reader([TEDDY], capture, False, (64, 64), calls=[call])) for call in range(steps)
        ]
        model.generate([TEDDY], [3], steps=steps, guidance_scale=1.0, height=64, width=64)
    return torch.stack([reader.maps()[0].cross_attention for reader in readers])


def test_part_of_the_steps_and_every_nth_of_them(model):
    each = each_calls_maps(model, steps=5)
    assert not torch.allclose(each[0], each[4], atol=1e-5)
    for steps, every, calls in [
        ("all", 1, [0, 1, 2, 3, 4]),
        ("all", 2, [0, 2, 4]),
        ("all", 9, [0]),
        ("first-half", 1, [0, 1, 2]),
        ("last-half", 1, [2, 3, 4]),
        ("last-half", 2, [2, 4]),
    ]:
        capture = CaptureSettings(steps=steps, every=every)
        (drawn,) = model.generate([TEDDY], [3], capture, steps=5, guidance_scale=1.0, height=64, width=64)
        torch.testing.assert_close(drawn.attention.cross_attention, each[calls].mean(0), atol=1e-6, rtol=1e-4)


def test_the_last_half_of_a_scheduler_that_calls_once_more(model):
    pipeline = thin_model("sd21-base").pipeline
    pipeline.scheduler = make_scheduler("pndm", pipeline.scheduler.config)
    calls = []
    pipeline.unet.register_forward_pre_hook(lambda unet, args: calls.append(1))
    other = UNetModel(model.spec, pipeline)
    last, whole = (
        draw(other, [TEDDY], [3], CaptureSettings(every=every), steps=4, height=64, width=64)[0] for every in (4, 1)
    )
    assert len(calls) == 2 * 5
    assert not torch.equal(last.attention.cross_attention, whole.attention.cross_attention)


def test_a_sample_does_not_depend_on_its_batch(model):
    together, alone = draw(model)[1], draw(model, [TEDDY], [8])[0]
    assert np.abs(together.image.astype(int) - alone.image.astype(int)).max() <= 1
    assert torch.allclose(together.attention.self_attention, alone.attention.self_attention, atol=1e-4)


def test_layer_prefixes_narrow_the_choice(model):
    unet = model.pipeline.unet
    every = choose_layers(unet, "attn2", LayerChoice(8), NATIVE).names
    up = choose_layers(unet, "attn2", LayerChoice(8, ("up_blocks",)), NATIVE).names
    assert len(every) == 5
    assert len(up) == 3
    assert set(up) < set(every)


def test_unknown_resolution_lists_those_there_are(model):
    with pytest.raises(ModelError) as error:
        choose_layers(model.pipeline.unet, "attn1", LayerChoice(64), NATIVE)
    assert "16 in down_blocks.0" in str(error.value)
    assert "\n" not in str(error.value)
