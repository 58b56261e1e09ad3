import copy

import numpy as np
import pytest
import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention, SlicedAttnProcessor
from tests.helpers.tiny_models import thin_model

from dataset_diffusion.config import CaptureSettings
from dataset_diffusion.diffusion.capture import AttentionCapture, attention_probabilities
from dataset_diffusion.diffusion.families.unet import choose_layers
from dataset_diffusion.diffusion.load import compile_blocks
from dataset_diffusion.errors import ModelError
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


def test_everything_is_restored_when_the_block_fails(model):
    unet = model.pipeline.unet
    processors = dict(unet.attn_processors)
    states = torch.zeros(1, 77, 64)
    reader = AttentionCapture(
        unet,
        states,
        cross_attention=choose_layers(model.pipeline.unet, "attn2", LayerChoice(4), NATIVE),
        self_attention=choose_layers(model.pipeline.unet, "attn1", LayerChoice(8), NATIVE),
        token_positions=[[[1]]],
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


def test_nothing_read_is_an_error(model):
    reader = AttentionCapture(
        model.pipeline.unet,
        torch.zeros(1, 77, 64),
        cross_attention=choose_layers(model.pipeline.unet, "attn2", LayerChoice(4), NATIVE),
        self_attention=choose_layers(model.pipeline.unet, "attn1", LayerChoice(8), NATIVE),
        token_positions=[[[1]]],
        guided=False,
    )
    with pytest.raises(ModelError, match="no attention was read"), reader:
        reader.maps()


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
