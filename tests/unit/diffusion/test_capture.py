import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, SlicedAttnProcessor
from tiny_models import tiny_stable_diffusion

from dataset_diffusion.config import CaptureSettings
from dataset_diffusion.diffusion.capture import AttentionCapture, LayerChoice, attention_probabilities, choose_layers
from dataset_diffusion.diffusion.models import ModelSpec
from dataset_diffusion.diffusion.unet import DiffusionModel
from dataset_diffusion.errors import ModelError
from dataset_diffusion.records import Prompt

CAT_AND_BUS = Prompt(0, "a photo of a cat and a bus; cat bus", "cat bus", (5, 3))
TEDDY = Prompt(1, "a teddy bear; teddy bear", "teddy bear", (12,))
LAYOUTS = {"sd15": {"linear_projection": False, "heads": 4}, "sd21": {"linear_projection": True, "heads": (1, 2, 4, 4)}}


@pytest.fixture(scope="module", params=LAYOUTS, ids=str)
def model(request):
    pipeline = tiny_stable_diffusion(**LAYOUTS[request.param])
    pipeline.set_progress_bar_config(disable=True)
    spec = ModelSpec("tiny", 128, 128, LayerChoice(4), LayerChoice(8), num_inference_steps=3, guidance_scale=3.0)
    return DiffusionModel(spec, pipeline)


def draw(model, prompts=(CAT_AND_BUS, TEDDY), seeds=(7, 8), capture=CaptureSettings(), **options):
    return model.generate(list(prompts), list(seeds), capture, **options)


def test_captured_image_is_the_plain_pipelines_bit_for_bit(model):
    captured = draw(model)
    plain = model.pipeline(
        prompt=[CAT_AND_BUS.text, TEDDY.text],
        negative_prompt=["", ""],
        num_inference_steps=3,
        guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(seed) for seed in (7, 8)],
        output_type="np",
    ).images
    for generation, image in zip(captured, plain, strict=True):
        assert np.array_equal(generation.image, (image * 255).round().astype(np.uint8))


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


def test_running_means_equal_explicit_attention_of_the_conditional_half(model):
    """An independent reading: store every layer's probabilities with a processor, average at the end."""
    stored = {"attn1": [], "attn2": []}

    class Recorder(AttnProcessor):
        def __init__(self, kind, states):
            self.kind, self.states = kind, states

        def __call__(self, attn, hidden_states, encoder_hidden_states=None, **kwargs):
            keys = hidden_states[1:] if self.kind == "attn1" else self.states
            query = attn.head_to_batch_dim(attn.to_q(hidden_states[1:]))
            key = attn.head_to_batch_dim(attn.to_k(keys))
            stored[self.kind].append(attn.get_attention_scores(query, key).mean(0))
            return super().__call__(attn, hidden_states, encoder_hidden_states, **kwargs)

    found = draw(model, [TEDDY], [3])[0].attention
    unet = model.pipeline.unet
    states = model.pipeline.encode_prompt("teddy bear", "cpu", 1, False)[0]
    before = dict(unet.attn_processors)
    chosen = choose_layers(unet, "attn2", LayerChoice(4)) + choose_layers(unet, "attn1", LayerChoice(8))
    recorders = {f"{name}.processor": Recorder(name[-5:], states) for name in chosen}
    with torch.inference_mode():
        unet.set_attn_processor({**before, **recorders})
        draw(model, [TEDDY], [3], capture=None)
        unet.set_attn_processor(dict(before))
    cross, self_attention = (torch.stack(stored[kind]).mean(0) for kind in ("attn2", "attn1"))
    teddy_bear = cross[:, [1, 2]].mean(1).reshape(1, 4, 4)
    assert torch.allclose(found.cross_attention, teddy_bear, atol=1e-6)
    assert torch.allclose(found.self_attention, self_attention, atol=1e-6)


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


def test_a_sample_does_not_depend_on_its_batch(model):
    together, alone = draw(model)[1], draw(model, [TEDDY], [8])[0]
    assert np.abs(together.image.astype(int) - alone.image.astype(int)).max() <= 1
    assert torch.allclose(together.attention.self_attention, alone.attention.self_attention, atol=1e-4)


def test_everything_is_restored_when_the_block_fails(model):
    unet = model.pipeline.unet
    processors = dict(unet.attn_processors)
    states = torch.zeros(1, 48, 32)
    reader = AttentionCapture(
        unet,
        states,
        cross_attention=LayerChoice(4),
        self_attention=LayerChoice(8),
        guided=False,
        latent_shape=(16, 16),
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
    every = choose_layers(unet, "attn2", LayerChoice(8))
    up = choose_layers(unet, "attn2", LayerChoice(8, ("up_blocks",)))
    assert len(every) == 5
    assert len(up) == 3
    assert set(up) < set(every)


def test_unknown_resolution_lists_those_there_are(model):
    with pytest.raises(ModelError) as error:
        choose_layers(model.pipeline.unet, "attn1", LayerChoice(64))
    assert "16 in down_blocks.0" in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_read_is_an_error(model):
    reader = AttentionCapture(
        model.pipeline.unet,
        torch.zeros(1, 48, 32),
        cross_attention=LayerChoice(4),
        self_attention=LayerChoice(8),
        guided=False,
        latent_shape=(16, 16),
    )
    with pytest.raises(ModelError, match="no attention was read"), reader:
        reader.maps([[[1]]])


def test_attention_probabilities_by_hand(model):
    """With identity-like projections the probabilities are the softmax of the scaled dot products."""
    layer = model.pipeline.unet.get_submodule(choose_layers(model.pipeline.unet, "attn1", LayerChoice(8))[0])
    states = torch.randn(1, 5, layer.to_q.in_features)
    heads = layer.heads
    query = layer.to_q(states)[0].reshape(5, heads, -1)
    key = layer.to_k(states)[0].reshape(5, heads, -1)
    by_hand = torch.stack(
        [torch.softmax(query[:, h] @ key[:, h].T / query.shape[-1] ** 0.5, dim=-1) for h in range(heads)]
    ).mean(0)
    assert torch.allclose(attention_probabilities(layer, states, states)[0], by_hand, atol=1e-6)
