import copy
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention, SlicedAttnProcessor
from tests.helpers.tiny_models import add_safety_checker, thin_model

from dataset_diffusion.config import CaptureSettings
from dataset_diffusion.diffusion.capture import AttentionCapture, attention_probabilities
from dataset_diffusion.diffusion.families.unet import UNetModel, choose_layers
from dataset_diffusion.diffusion.load import compile_blocks, make_scheduler
from dataset_diffusion.diffusion.specs import LayerChoice
from dataset_diffusion.errors import ModelError
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


def test_maps_have_the_chosen_resolutions_and_are_probabilities(model):
    first, second = (generation.attention for generation in draw(model))
    assert first.cross_attention.shape == (2, 4, 4)
    assert second.cross_attention.shape == (1, 4, 4)
    assert first.self_shape == (8, 8)
    assert torch.allclose(first.self_attention.sum(-1), torch.ones(64), atol=1e-5)
    assert 0 <= first.cross_attention.min() <= first.cross_attention.max() <= 1


def test_maps_of_a_wide_image_take_their_shape_from_the_latents(model):
    (generation,) = draw(model, [TEDDY], [1], height=64, width=192)
    assert generation.image.shape == (64, 192, 3)
    assert generation.attention.cross_attention.shape == (1, 2, 6)
    assert generation.attention.self_shape == (4, 12)


def test_guidance_off_reads_the_whole_batch(model):
    guided, plain = draw(model, guidance_scale=3.0)[0], draw(model, guidance_scale=1.0)[0]
    assert plain.attention.cross_attention.shape == guided.attention.cross_attention.shape
    assert not torch.equal(plain.attention.cross_attention, guided.attention.cross_attention)


def test_attention_slicing_does_not_disable_capture(model):
    reference = draw(model)[0].attention
    before = dict(model.pipeline.unet.attn_processors)
    model.pipeline.unet.set_attn_processor(SlicedAttnProcessor(1))
    try:
        sliced = draw(model)[0].attention
    finally:
        model.pipeline.unet.set_attn_processor(before)
    assert torch.allclose(reference.cross_attention, sliced.cross_attention, atol=1e-4)


def test_no_attention_layer_is_compiled_away(model):
    pipeline = thin_model("sd21-base").pipeline
    compile_blocks(pipeline)  # lazily: nothing is compiled before it is called
    blocks = [block for block in pipeline.unet.modules() if block._compiled_call_impl is not None]
    assert len(blocks) == 22 + 16  # every ResNet block and every feed-forward block
    assert not any(isinstance(module, Attention) for block in blocks for module in block.modules())


def test_compiled_blocks_do_not_disable_capture(model):
    compiled = thin_model("sd21-base")
    compile_blocks(compiled.pipeline, kinds=(FeedForward,), backend="eager")  # fewer shapes to compile
    for capture in (CaptureSettings(), CaptureSettings(every=2)):  # hooks come and go
        reference, found = (draw(each, [TEDDY], [3], capture, height=64, width=64)[0] for each in (model, compiled))
        assert np.abs(reference.image.astype(int) - found.image.astype(int)).max() <= 1
        torch.testing.assert_close(found.attention.cross_attention, reference.attention.cross_attention)


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
    capture = model.spec.resolve_capture(CaptureSettings())
    with ExitStack() as stack:
        readers = [
            stack.enter_context(model._reader([TEDDY], capture, False, (8, 8), calls=[call])) for call in range(steps)
        ]
        model.generate([TEDDY], [3], steps=steps, guidance_scale=1.0, height=64, width=64)
    return torch.stack([reader.maps([[[1, 2]]])[0].cross_attention for reader in readers])


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


def test_everything_is_restored_when_the_block_fails(model):
    unet = model.pipeline.unet
    processors = dict(unet.attn_processors)
    states = torch.zeros(1, 77, 64)
    reader = AttentionCapture(
        unet,
        states,
        cross_attention=choose_layers(model.pipeline.unet, "attn2", LayerChoice(4), NATIVE),
        self_attention=choose_layers(model.pipeline.unet, "attn1", LayerChoice(8), NATIVE),
        guided=False,
    )

    def fail_inside():
        with reader:
            assert any(module._forward_pre_hooks for module in unet.modules())
            raise RuntimeError("mid-way")

    with pytest.raises(RuntimeError, match="mid-way"):
        fail_inside()
    assert not any(module._forward_pre_hooks for module in unet.modules())
    assert unet.attn_processors == processors


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


def test_nothing_read_is_an_error(model):
    reader = AttentionCapture(
        model.pipeline.unet,
        torch.zeros(1, 77, 64),
        cross_attention=choose_layers(model.pipeline.unet, "attn2", LayerChoice(4), NATIVE),
        self_attention=choose_layers(model.pipeline.unet, "attn1", LayerChoice(8), NATIVE),
        guided=False,
    )
    with pytest.raises(ModelError, match="no attention was read"), reader:
        reader.maps([[[1]]])


def test_attention_probabilities_by_hand(model):
    """With identity-like projections the probabilities are the softmax of the scaled dot products."""
    layer = model.pipeline.unet.get_submodule(
        choose_layers(model.pipeline.unet, "attn1", LayerChoice(8), NATIVE).names[0]
    )
    states = torch.randn(1, 5, layer.to_q.in_features)
    heads = layer.heads
    query = layer.to_q(states)[0].reshape(5, heads, -1)
    key = layer.to_k(states)[0].reshape(5, heads, -1)
    by_hand = torch.stack(
        [torch.softmax(query[:, h] @ key[:, h].T / query.shape[-1] ** 0.5, dim=-1) for h in range(heads)]
    ).mean(0)
    assert torch.allclose(attention_probabilities(layer, states, states)[0], by_hand, atol=1e-6)


def test_heads_read_a_few_at_a_time_give_the_same_mean(model):
    layer = model.pipeline.unet.get_submodule(
        choose_layers(model.pipeline.unet, "attn1", LayerChoice(8), NATIVE).names[0]
    )
    states = torch.randn(2, 9, layer.to_q.in_features)
    at_once = attention_probabilities(layer, states, states)
    three_heads = 2 * 9 * 9 * 3
    few = attention_probabilities(layer, states, states, logits_at_once=three_heads)
    torch.testing.assert_close(few, at_once)


def test_logits_beyond_float16_are_computed_in_float32_where_the_layer_asks_for_it(model):
    name = choose_layers(model.pipeline.unet, "attn1", LayerChoice(8), NATIVE).names[0]
    layer = copy.deepcopy(model.pipeline.unet.get_submodule(name)).half()
    states = torch.full((1, 4, layer.to_q.in_features), 3e3, dtype=torch.float16)
    with torch.no_grad():
        layer.to_q.weight.fill_(1e-2)
        layer.to_k.weight.fill_(1e-2)
    assert attention_probabilities(layer, states, states).isnan().all()  # infinity minus infinity
    layer.upcast_attention = True
    torch.testing.assert_close(attention_probabilities(layer, states, states), torch.full((1, 4, 4), 0.25))
